"""Mean gates by scenario, against plain NumPy means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_models.model import RankingModel
from tfx_pipeline.build_model import build_model
from tfx_pipeline.config import Config
from tfx_pipeline.mean_gates import mean_gates

SCENARIOS = ["a", "b", "other"]
TASKS = ["click", "like"]
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
    "features": {"categorical": ["user", "item", "tab"], "numeric": ["length"]},
    "scenario": {"column": "tab", "values": ["a", "b"]},
    "tasks": {task: {"label": f"is_{task} == 1"} for task in TASKS},
}
PLUGGED = {"epnet": {}, "ppnet": {"prior": ["user", "item"]}, "tower_units": [8, 4]}


def make_model(**model: Any) -> RankingModel:
    tf.keras.utils.set_random_seed(1)
    settings = {**BASE, "model": {**model, "embedding": {"capacity": 256}}}
    made = build_model(Config.model_validate(settings), num_numbers=2)
    rng = np.random.default_rng(0)
    # What a training would leave: no gate is uniform, and scenarios differ.
    for weight in made.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    made.embedding.train_lookup(make_features(64)["keys"])
    return made


def make_features(rows: int, scenarios: Sequence[int] = (0, 1), seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "keys": tf.constant(rng.integers(1, 9, (rows, 4)) + 100 * np.arange(4)),
        "numbers": tf.constant(rng.normal(size=(rows, 2)), tf.float32),
        "scenario": tf.constant(rng.choice(scenarios, rows)),
        "day": tf.zeros([rows], tf.int64),
    }


def make_batches(features: dict[str, Any], size: int) -> tf.data.Dataset:
    labels = np.zeros((len(features["scenario"]), 2), np.float32)
    return tf.data.Dataset.from_tensor_slices((features, labels)).batch(size)


@pytest.mark.parametrize(
    "model",
    [
        {"preset": "ple"},
        {"preset": "cgc"},
        {"preset": "mmoe"},
        {"preset": "hinet"},
        {"preset": "hmoe"},
        {"backbone": "shared_bottom", **PLUGGED},
        {"backbone": "shared_bottom", "epnet": {"per_field": True}},
        {"backbone": "mmoe", "lhuc": {"user": "user"}, "tower_units": [8, 4]},
    ],
    ids=["ple", "cgc", "mmoe", "hinet", "hmoe", "pepnet", "epnet_per_field", "lhuc"],
)
def test_equals_the_mean_over_the_rows_of_a_scenario(model: dict[str, Any]) -> None:
    made, features = make_model(**model), make_features(50)
    scenario = features["scenario"].numpy()
    found = mean_gates(made, make_batches(features, 16), SCENARIOS)

    assert found["scenarios"] == SCENARIOS
    assert found["rows"] == [int((scenario == i).sum()) for i in range(3)]
    named = made.intermediates({name: features[name] for name in made.feature_spec})
    axes = made.gate_axes(SCENARIOS)
    assert found["gates"].keys() == axes.keys() and axes
    for name, gate in found["gates"].items():
        assert gate["axes"] == ["scenario", *axes[name]]
        values = named[name].numpy().astype(np.float64)
        sizes = [len(labels) for labels in axes[name].values()]
        assert values.shape[1 : 1 + len(sizes)] == tuple(sizes), "every entry has its label"
        values = values.reshape(*values.shape[: 1 + len(sizes)], -1).mean(axis=-1)
        for axis, (of, labels) in enumerate(axes[name].items(), start=1):
            distinct = list(dict.fromkeys(labels))
            assert gate["labels"][of] == distinct
            values = np.stack(
                [values.compress(np.equal(labels, one), axis).mean(axis) for one in distinct], axis
            )
        for i in (0, 1):
            np.testing.assert_allclose(gate["mean"][i], values[scenario == i].mean(0), atol=1e-5)
        assert gate["mean"][2] is None, "no row is of the scenario `other`"
    json.dumps(found, allow_nan=False)


def test_names_what_lies_along_the_axes() -> None:
    labels = {
        name: gate["labels"]
        for name, gate in mean_gates(
            make_model(preset="ple", **PLUGGED), make_batches(make_features(8), 8), SCENARIOS
        )["gates"].items()
    }
    own_first = ["own 1", "own 2", "shared 1", "shared 2"]
    assert labels == {
        "level_1/task_gates": {"task": TASKS, "expert": own_first},
        "level_1/shared_gate": {
            "expert": ["click 1", "click 2", "like 1", "like 2", "shared 1", "shared 2"]
        },
        "level_2/task_gates": {"task": TASKS, "expert": own_first},
        "epnet/delta": {"field": ["user", "item", "tab", "length"]},
        "ppnet/gate_1": {"task": TASKS},
        "ppnet/gate_2": {"task": TASKS},
        "ppnet/gate_3": {"task": TASKS},
    }


def test_a_hinet_takes_nothing_from_itself() -> None:
    found = mean_gates(make_model(preset="hinet"), make_batches(make_features(50), 50), SCENARIOS)
    taken = np.asarray(found["gates"]["san_weights"]["mean"][:2])
    np.testing.assert_allclose([taken[0, 0], taken[1, 1]], 0, atol=1e-7)
    np.testing.assert_allclose(taken.sum(axis=1), 1, atol=1e-5)


def test_a_model_without_gates() -> None:
    found = mean_gates(
        make_model(preset="shared_bottom"), make_batches(make_features(20), 7), SCENARIOS
    )
    assert found["gates"] == {} and sum(found["rows"]) == 20


def test_a_backbone_that_scores_has_no_tower_gates() -> None:
    found = mean_gates(make_model(preset="deepfm"), make_batches(make_features(9), 9), SCENARIOS)
    assert found["gates"] == {}
