"""Two replicas, and two workers, against one device on the same global batches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_models

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).with_name("spread_training.py")
TOLERANCE = 2e-3
"""Of sums in another order, after 30 steps of Adam, which makes much of a gradient near 0."""


def start(
    strategy: str, backbone: str, folder: Path, tf_config: str | None = None, kill_at: int = 0
) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    path = [str(Path(keras_models.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_USE_LEGACY_KERAS": "1"}
    if tf_config:
        environment["TF_CONFIG"] = tf_config
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), strategy, backbone, str(folder), str(kill_at)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, text


def train(strategy: str, backbone: str, folder: Path) -> Path:
    status, text = ended(start(strategy, backbone, folder))
    assert status == 0, text
    return folder


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def two_workers(folder: Path, kill_second_at: int = 0) -> list[tuple[int, str]]:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports()]}
    workers = [
        start(
            *("multi_worker", "ple", folder),
            json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
            kill_second_at if index else 0,
        )
        for index in range(2)
    ]
    return [ended(worker) for worker in workers]


def history(folder: Path, worker: int = 0) -> list[dict[str, Any]]:
    epochs = json.loads((folder / f"history-{worker}.json").read_text())["epochs"]
    timed = ("seconds", "examples_per_second")
    return [{name: e[name] for name in e if name not in timed} for e in epochs]


def assert_same(one: Path, other: Path) -> None:
    for mine, theirs in zip(history(one), history(other), strict=True):
        assert mine.pop("loss") == pytest.approx(theirs.pop("loss"), rel=1e-4)
        assert mine.pop("valid_quality") == pytest.approx(theirs.pop("valid_quality"), abs=1e-3)
        assert mine.pop("mean_quality") == pytest.approx(theirs.pop("mean_quality"), abs=1e-3)
        # Examples, admissions, evictions and hits of the table.
        assert mine == theirs
    readers = [tf.train.load_checkpoint(str(folder / "result")) for folder in (one, other)]
    names = {frozenset(reader.get_variable_to_shape_map()) for reader in readers}
    assert len(names) == 1
    for name in names.pop() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
        values = [reader.get_tensor(name) for reader in readers]
        if values[0].dtype.kind == "f":
            np.testing.assert_allclose(*values, TOLERANCE, TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(*values, err_msg=name)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("one_device", "ple", tmp_path_factory.mktemp("one") / "ple")


def test_two_replicas_are_one(one: Path, tmp_path: Path) -> None:
    assert_same(train("mirrored", "ple", tmp_path / "ple"), one)


def test_moments_by_scenario_are_of_the_global_batch(tmp_path: Path) -> None:
    sides = [train(s, "star", tmp_path / s) for s in ("mirrored", "one_device")]
    assert_same(*sides)


def test_two_workers_are_one_also_when_one_is_killed(one: Path, tmp_path: Path) -> None:
    killed = two_workers(tmp_path, kill_second_at=17)
    assert killed[1][0] == -9
    assert killed[0][0] != 0, "the first worker went on without the second"
    assert not (tmp_path / "result.index").exists()
    for status, text in two_workers(tmp_path):
        assert status == 0, text
    assert_same(tmp_path, one)
    assert history(tmp_path, 1) == history(tmp_path, 0)
