"""A run whose training two workers share, as a user starts it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ..command_line import Command, equipoise
from . import simulated_job
from .simulated_job import FinishedRun

pytestmark = pytest.mark.e2e

SPREAD = "training.distribution=multi_worker"


def test_two_workers_train_what_one_device_trains(
    finished_run: FinishedRun, tmp_path: Path
) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    arguments = simulated_job.arguments(finished_run.logs, tmp_path, SPREAD)
    workers = []
    for i, command in enumerate(("run", "worker")):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        workers.append(Command(command, *arguments, environment={"TF_CONFIG": config}))
    try:
        for worker in workers:
            done = worker.wait(600)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        for worker in workers:
            worker.kill()
    assert "trained" in done.stdout

    spread, alone = json.loads((tmp_path / "summary.json").read_text()), finished_run.summary
    assert spread["pushed_version"]
    counts = [{n: v for n, v in s["data"].items() if n != "files"} for s in (spread, alone)]
    assert counts[0] == counts[1]
    for mine, theirs in zip(spread["metrics"], alone["metrics"], strict=True):
        if mine["scenario"] == "*":
            # Other rows meet in a batch: each worker shuffles its own share.
            assert mine["auc"] == pytest.approx(theirs["auc"], abs=0.03)
    # Nothing to resume is left, for workers to find another day.
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_contradiction_stops_before_anything_starts(tmp_path: Path) -> None:
    arguments = simulated_job.arguments(tmp_path, tmp_path / "work", SPREAD)
    for command in ("run", "worker"):
        done = equipoise(command, *arguments, environment={"TF_CONFIG": ""})
        text = done.stdout + done.stderr
        assert done.returncode == 2 and "TF_CONFIG" in text
        assert "expected  two workers or more" in text
    assert not (tmp_path / "work" / "metadata.db").exists()
