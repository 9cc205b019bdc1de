"""The config's sections about serving, and the nodes that they make of the pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config import Config, load_config
from tfx_pipeline.config.serving import DeltaConfig
from tfx_pipeline.pipeline import TRAINER_SECTIONS, create_pipeline
from transforms.problems import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"


def _nodes(config: Config) -> dict[str, Any]:
    pipeline = create_pipeline(
        config,
        workdir="/tmp/never-written",
        input_fingerprint="",
        known_version=0,
    )
    return {node.id: node for node in pipeline.components}


def _upstream(nodes: dict[str, Any], name: str) -> set[str]:
    return {node.id for node in nodes[name].upstream_nodes}


def test_the_infra_validator_needs_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError) as refused:
        load_config(CONFIG, ["serving.infra_validator=true"])
    (problem,) = refused.value.problems
    assert problem.where == "serving.infra_validator" and "no `docker`" in problem.found
    assert not load_config(CONFIG).serving.infra_validator


def test_the_infra_validator_is_before_the_check_and_the_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    nodes = _nodes(load_config(CONFIG, ["serving.infra_validator=true"]))
    assert _upstream(nodes, "InfraValidator") == {"LogExampleGen", "Trainer"}
    assert "InfraValidator" in _upstream(nodes, "ModelCheck")
    assert "ModelCheck" in _upstream(nodes, "Pusher")
    spec = json.loads(nodes["InfraValidator"].exec_properties["serving_spec"])
    assert spec["tensorflow_serving"]["tags"] == ["2.16.1"] and "local_docker" in spec


def test_without_it_the_model_is_checked_all_the_same() -> None:
    nodes = _nodes(load_config(CONFIG))
    assert "InfraValidator" not in nodes
    assert _upstream(nodes, "ModelCheck") == {"LogExampleGen", "Trainer"}
    assert {"Gate", "ModelCheck"} <= _upstream(nodes, "Pusher")


@pytest.mark.parametrize(
    "setting",
    [
        "serving.warmup_rows=[]",
        "serving.warmup_rows=[0]",
        "serving.embedding_rows=int4",
        "model_check.rows=0",
        "model_check.max_latency_ms=0",
        "model_check.tolerance=.inf",
    ],
)
def test_mistakes(setting: str) -> None:
    with pytest.raises(InputError, match=setting.partition("=")[0]):
        load_config(CONFIG, [setting])


def test_how_many_rows_warming_up_needs() -> None:
    assert load_config(CONFIG).serving.warmup_largest == 100
    settings = ["serving.warmup_candidates=[]", "serving.warmup_rows=[3, 2]"]
    assert load_config(CONFIG, settings).serving.warmup_largest == 3


def test_the_trainer_knows_whether_and_not_which_updates_are_synced() -> None:
    def told(*settings: str) -> str:
        return load_config(CONFIG, list(settings)).model_dump_json(include=TRAINER_SECTIONS)

    counted = told("serving.delta={}")
    assert Config.model_validate_json(counted).serving.delta == DeltaConfig()
    assert counted == told("serving.delta.min_updates=3") != told()
    assert Config.model_validate_json(told()).serving.delta is None
