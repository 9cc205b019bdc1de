"""TF_CONFIG against the config, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config import load_config
from tfx_pipeline.tf_config import tf_config_problems

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def cluster(workers: list[str], index: Any = 0, **roles: list[str]) -> str:
    found = {"cluster": {"worker": workers, **roles}, "task": {"type": "worker", "index": index}}
    return json.dumps(found)


def problems(
    monkeypatch: pytest.MonkeyPatch,
    distribution: str,
    tf_config: str | None,
    *sets: str,
    first: bool = True,
) -> str:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if tf_config is not None:
        monkeypatch.setenv("TF_CONFIG", tf_config)
    config = load_config(CONFIG, [f"training.distribution={distribution}", *sets])
    return "\n".join(map(str, tf_config_problems(config, first=first)))


@pytest.mark.parametrize(
    ("distribution", "tf_config"),
    [
        ("one_device", None),
        ("mirrored", None),
        ("one_device", "{}"),
        ("one_device", cluster(TWO[:1])),
        ("multi_worker", cluster(TWO)),
    ],
)
def test_what_fits(
    monkeypatch: pytest.MonkeyPatch, distribution: str, tf_config: str | None
) -> None:
    assert problems(monkeypatch, distribution, tf_config) == ""


@pytest.mark.parametrize(
    ("distribution", "tf_config", "expected"),
    [
        ("multi_worker", None, "TF_CONFIG: found none; expected two workers or more"),
        ("multi_worker", "{", "TF_CONFIG: found {; expected a cluster and a task as JSON"),
        ("multi_worker", "[1]", "expected a cluster and a task as JSON"),
        ("multi_worker", '{"cluster": {"worker": 7}}', "expected a cluster and a task as JSON"),
        ("multi_worker", cluster(TWO[:1]), "found 1 workers, and training.distribution"),
        ("multi_worker", cluster(TWO, 2), "expected a worker with an index from 0 to 1"),
        ("multi_worker", cluster(TWO, "0"), "expected a worker with an index from 0 to 1"),
        ("multi_worker", cluster(TWO, ps=["10.0.0.3:1"]), "found the roles ps; expected workers"),
        ("multi_worker", cluster([TWO[0]] * 2), "expected different addresses"),
        ("one_device", cluster(TWO), "found 2 workers, and training.distribution one_device"),
        ("mirrored", cluster(TWO), "found 2 workers, and training.distribution mirrored"),
        ("one_device", cluster([], chief=TWO[:1]), "expected a training in one process"),
    ],
)
def test_what_contradicts(
    monkeypatch: pytest.MonkeyPatch, distribution: str, tf_config: str | None, expected: str
) -> None:
    assert expected in problems(monkeypatch, distribution, tf_config)


def test_the_first_worker_runs_the_pipeline_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = "expected 0 for `equipoise run`, and 1 or more for `equipoise worker`"
    for index, first in ((0, True), (1, False)):
        tf_config = cluster(TWO, index)
        assert problems(monkeypatch, "multi_worker", tf_config, first=first) == ""
        assert expected in problems(monkeypatch, "multi_worker", tf_config, first=not first)


def test_a_batch_that_workers_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, "multi_worker", cluster(TWO), "training.batch_size=1023")
    assert "training.batch_size: found 1023 examples, and 2 workers" in found
