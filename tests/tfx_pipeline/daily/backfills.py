"""Backfills of simulated days, as a user runs them, and what they left."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_pipeline.daily.record import DayRecord, read_records

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml"
EQUIPOISE = Path(sys.executable).with_name("equipoise")
WINDOW = 3
TOLERANCE = 1e-4
SMALL = [
    *("training.epochs=2", "training.batch_size=256", "gate.auc_floor=0.4"),
    f"daily.window={WINDOW}",
    "features.statistics=[{by: [item_id], of: [click]}, {by: [user_id, tab], of: [like]}]",
]


def command(name: str, logs: Path, workdir: Path, *arguments: str, sets: Sequence[str] = ()) -> Any:
    settings = [f"data.path={logs}", *SMALL, *sets]
    flags = [part for setting in settings for part in ("--set", setting)]
    return [str(EQUIPOISE), name, str(CONFIG), "--workdir", str(workdir), *flags, *arguments]


def run(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, **more), capture_output=True, text=True, timeout=1800)


def days(first: int, last: int) -> list[str]:
    return ["--from", f"2024-01-{first:02d}", "--to", f"2024-01-{last:02d}"]


def run_and_kill(seconds: float, *arguments: Any) -> bool:
    """Kills a command and all that it started after some time; whether it was still running."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def records(workdir: Path) -> dict[str, DayRecord]:
    return {str(day): record for day, record in read_records(str(workdir / "daily")).items()}


def summary(workdir: Path, day: str) -> dict[str, Any]:
    return json.loads((workdir / "daily" / day / "summary.json").read_text())


def assert_same_result(one: Path, other: Path) -> None:
    """The same rows, weights, tables, optimizers, metrics and verdicts of every day."""
    import tensorflow as tf

    mine, theirs = records(one), records(other)
    assert list(mine) == list(theirs)
    for day, record in mine.items():
        assert record.key == theirs[day].key and record.blessed == theirs[day].blessed
        found, expected = summary(one, day), summary(other, day)
        assert found["day"] == expected["day"] and _counts(found) == _counts(expected)
        for part in (lambda s: s["metrics"], lambda s: s["gate"]["failures"]):
            assert _differences(part(found), part(expected), day) == []
        assert found["gate"]["not_judged"] == expected["gate"]["not_judged"]
        readers = [tf.train.load_checkpoint(r.trained) for r in (record, theirs[day])]
        names = [set(reader.get_variable_to_shape_map()) for reader in readers]
        assert names[0] == names[1]
        for name in names[0] - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
            values = [reader.get_tensor(name) for reader in readers]
            # Which key has which row is no matter of floats; keys and counts are equal.
            if values[0].dtype.kind == "f":
                np.testing.assert_allclose(*values, TOLERANCE, TOLERANCE, err_msg=f"{day}: {name}")
            else:
                np.testing.assert_array_equal(*values, err_msg=f"{day}: {name}")


def _differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two summaries differ by more than float32 loses where threads add up otherwise."""
    if isinstance(one, float) and isinstance(other, float):
        close = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return [] if close else [f"{where}: {one} and {other}"]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [d for key in one for d in _differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for i, pair in pairs for d in _differences(*pair, f"{where}[{i}]")]
    return [] if one == other else [f"{where}: {one} and {other}"]


def _counts(summary: dict[str, Any]) -> dict[str, Any]:
    """Of the rows; whether a day arrived again depends on what ran before."""
    return {name: value for name, value in summary["data"].items() if name != "arrived_again"}
