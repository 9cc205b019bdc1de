"""A run whose training two workers share, as a user starts it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_pipeline.simulate import simulate

pytestmark = pytest.mark.e2e

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
EQUIPOISE = Path(sys.executable).with_name("equipoise")
SETTINGS = [
    *("training.epochs=3", "training.batch_size=256", "gate.auc_floor=0.4"),
    *("data.train=2024-01-01..2024-01-03", "data.valid=2024-01-04", "data.eval=2024-01-05"),
]


def start(
    command: str, logs: Path, workdir: Path, *settings: str, tf_config: str = ""
) -> subprocess.Popen[str]:
    sets = [part for s in (f"data.path={logs}", *SETTINGS, *settings) for part in ("--set", s)]
    return subprocess.Popen(
        [EQUIPOISE, command, CONFIG, "--workdir", workdir, *sets],
        env={**os.environ, "TF_CONFIG": tf_config},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_workers_train_what_one_device_trains(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    simulate(logs, days=5, rows_per_day=3_000)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    spread = "training.distribution=multi_worker"
    workers = [
        start(
            *(command, logs, tmp_path / "spread", spread),
            tf_config=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}),
        )
        for i, command in enumerate(("run", "worker"))
    ]
    try:
        for process in workers:
            text, _ = process.communicate(timeout=600)
            assert process.returncode == 0, text
    finally:
        for process in workers:
            process.kill()
    assert "trained" in text

    alone = start("run", logs, tmp_path / "alone")
    text, _ = alone.communicate(timeout=600)
    assert alone.returncode == 0, text
    summaries = [
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("spread", "alone")
    ]
    assert summaries[0]["pushed_version"] and summaries[0]["data"] == summaries[1]["data"]
    for mine, theirs in zip(*(s["metrics"] for s in summaries), strict=True):
        if mine["scenario"] == "*":
            # Other rows meet in a batch: each worker shuffles its own share.
            assert mine["auc"] == pytest.approx(theirs["auc"], abs=0.03)
    # Nothing to resume is left, for workers to find another day.
    assert not list((tmp_path / "spread" / "checkpoints").glob("*"))


def test_a_contradiction_stops_before_anything_starts(tmp_path: Path) -> None:
    for command in ("run", "worker"):
        process = start(command, tmp_path, tmp_path / "work", "training.distribution=multi_worker")
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 2 and "TF_CONFIG" in text
        assert "expected  two workers or more" in text
    assert not (tmp_path / "work" / "metadata.db").exists()
