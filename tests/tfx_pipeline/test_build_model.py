"""What the section `model` becomes, and which combinations are refused."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any, get_args

import pytest
import tensorflow as tf
import yaml

from keras_models.backbones import BACKBONES
from keras_models.heads import EsmmHead
from keras_models.layers import EpNet, Lhuc, PpNet
from tfx_pipeline.build_model import build_model, task_losses
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.config.model import ModelConfig
from tfx_pipeline.config.presets import PRESETS
from transforms.problems import InputError

BASE: dict[str, Any] = {
    "name": "job",
    "data": {
        "path": "logs",
        "logs": "*.csv",
        "event_key": ["user", "item", "time"],
        "event_time": "time",
        "user": "user",
        "train": "2024-01-01..2024-01-03",
        "valid": "2024-01-04",
        "eval": "2024-01-05",
    },
    "features": {
        "categorical": ["user", "item", "author", "tab"],
        "numeric": ["length"],
        "statistics": [{"by": ["tab"], "of": ["click"]}],
    },
    "scenario": {"column": "tab", "values": ["a", "b"]},
    "tasks": {"click": {"label": "is_click == 1"}, "like": {"label": "is_like == 1"}},
    "model": {"embedding": {"capacity": 64}},
}
CHAIN = {"tasks.like.after": "click"}
HISTORY = {"features.history": {"items": ["item"], "labels": ["click"], "length": 3}}
BOUND = {
    "tasks.both": {"label": "is_click == 1 and is_like == 1"},
    "model.loss.kl_bounds": [{"product": ["click", "like"], "equals": "both"}],
}
NEEDS = {"esmm": CHAIN, "dupn": HISTORY, "meituan": BOUND}


def write(folder: Path, *changes: dict[str, Any]) -> Path:
    raw = copy.deepcopy(BASE)
    for key, value in [item for change in changes for item in change.items()]:
        *parents, last = key.split(".")
        node = raw
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def load(folder: Path, *changes: dict[str, Any]) -> Config:
    return load_config(write(folder, *changes))


def problems(folder: Path, *changes: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load(folder, *changes)
    return {p.where: str(p) for p in caught.value.problems}


def test_every_backbone_and_every_preset_has_a_name_in_the_config() -> None:
    fields = ModelConfig.model_fields
    assert list(BACKBONES) == list(get_args(fields["backbone"].annotation))
    (names, _) = get_args(fields["preset"].annotation)
    assert list(PRESETS) == list(get_args(names))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbones_section_is_its_signature(name: str) -> None:
    """Keys and defaults stand in two places, for the config is read without TensorFlow."""
    section = ModelConfig.model_fields[name].annotation
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    expected = {
        p.name: list(p.default) if isinstance(p.default, tuple) else p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
    }
    assert section().model_dump() == expected
    assert section.min_scenarios == BACKBONES[name].min_scenarios
    assert section.scores == BACKBONES[name].scores


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_model_that_scores(preset: str, tmp_path: Path) -> None:
    config = load(tmp_path, {"model.preset": preset}, NEEDS.get(preset, {}))
    numbers = 2 * len(config.features.numbers)
    model = build_model(config, num_numbers=numbers)
    features = {
        name: tf.zeros([5, *spec.shape[1:]], spec.dtype)
        for name, spec in model.feature_spec.items()
    }
    assert model(features).shape == [5, len(config.tasks)]
    assert type(model.network._backbone) is BACKBONES[config.model.backbone]
    losses = task_losses(config, [8, 1, 1])
    labels, scenario = tf.zeros([5, len(config.tasks)]), features["scenario"]
    assert float(losses(labels, model(features), scenario)) > 0


def test_presets_hold_what_the_papers_have(tmp_path: Path) -> None:
    pepnet = build_model(load(tmp_path, {"model.preset": "pepnet"}), num_numbers=6).network.plug_ins
    assert isinstance(pepnet.epnet, EpNet) and isinstance(pepnet.ppnet, PpNet)
    assert pepnet.domain == ["tab", "stat:tab:count", "stat:tab:click:rate"]
    assert pepnet.prior == ["user", "item"]
    esmm = build_model(load(tmp_path, {"model.preset": "esmm"}, CHAIN), num_numbers=6)
    assert isinstance(esmm.head, EsmmHead)
    hinet = load(tmp_path, {"model.preset": "hinet"})
    weights = task_losses(hinet, [90, 10, 0]).scenario_weights
    assert weights == pytest.approx([5 / 9, 5, 1])
    assert load(tmp_path, {"model.preset": "cgc"}).model.ple.levels == 1


def test_other_keys_change_a_preset(tmp_path: Path) -> None:
    changes = {"model.preset": "pepnet", "model.backbone": "mmoe", "model.ppnet": None}
    config = load(tmp_path, changes, {"model.lhuc": {}, "model.epnet": {"hidden_units": 7}})
    plug_ins = build_model(config, num_numbers=6).network.plug_ins
    assert plug_ins.ppnet is None and isinstance(plug_ins.lhuc, Lhuc)
    assert plug_ins.epnet.hidden_units == 7
    assert config.model.backbone == "mmoe"


def test_a_fused_score_is_served(tmp_path: Path) -> None:
    length = {"column": "length", "function": "log1p", "missing": 0}
    fusion = {"weights": {"click": 1, "like": 0.5}, "length": length}
    model = build_model(load(tmp_path, {"model.fusion": fusion}), num_numbers=6)
    features = {
        name: tf.zeros([2, *spec.shape[1:]], spec.dtype)
        for name, spec in model.feature_spec.items()
    }
    served = model.for_serving()({**features, "raw:length": tf.constant([1.0, 3.0])})
    product = served["click"] * served["like"] ** 0.5 * tf.math.log([2.0, 4.0])
    expected = tf.math.log(product)
    assert served["score"].numpy() == pytest.approx(expected.numpy(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "where", "reason"),
    [
        ({"model.preset": "esmm"}, "model.head", "no task that comes after another"),
        (
            {"model.preset": "hinet", "scenario.values": ["a"]},
            "model.backbone",
            "`hinet` with 1 scenario",
        ),
        (
            {"model.preset": "star", "scenario.values": ["a"]},
            "model.backbone",
            "`star` with 1 scenario",
        ),
        ({"model.preset": "dupn"}, "model.behaviour_sequence", "no features.history"),
        (HISTORY, "features.history", "no part of the model that reads it"),
        ({"model.preset": "meituan"}, "model.loss.kl_bounds", "`meituan`"),
        ({"model.preset": "hmoe", "model.ppnet": {}}, "model.ppnet", "scores by itself"),
        ({"model.preset": "deepfm", "model.lhuc": {}}, "model.lhuc", "scores by itself"),
        ({"model.lhuc": {}, "model.tower_units": []}, "model.lhuc", "without hidden layers"),
        ({"model.lhuc": {}, "model.ppnet": {}}, "model.lhuc", "one of them"),
        ({"model.ppnet": {"prior": ["usr"]}}, "model.ppnet.prior", "`usr`, which is no feature"),
        ({"model.epnet": {"domain": ["no"]}}, "model.epnet.domain", "`no`, which is no feature"),
        (
            {"model.backbone": "deepfm", "model.embedding.dims": {"tab": 4}},
            "model.embedding.dims",
            "widths 4, 16",
        ),
        (
            {
                "model.missing_values": True,
                "features.numeric": [],
                "features.statistics": [],
            },
            "model.missing_values",
            "no numeric features",
        ),
        (
            {"model.backbone": "hmoe", "tasks.like.kind": "regression", "tasks.like.label": "x"},
            "model.backbone",
            "`hmoe` with a regression task",
        ),
        (
            {
                "model.backbone": "star",
                "tasks.like": {"label": "x", "kind": "multiclass", "classes": 3},
            },
            "model.backbone",
            "`star` with a multiclass task",
        ),
        ({"model.preset": "pepnt"}, "model.preset", "'pepnet'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    changes: dict[str, Any], where: str, reason: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, changes)
    assert reason in found[where], found
