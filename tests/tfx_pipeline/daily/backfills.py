"""Backfills of simulated days, as a user runs them, and what they left."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_pipeline.daily.record import DayRecord, read_records

from ...command_line import EQUIPOISE, Command, equipoise
from .. import simulated_job

WINDOW = 3
NOISE = 0.005
SMALL = [*simulated_job.SMALL, f"daily.window={WINDOW}"]


def days(first: int, last: int) -> list[str]:
    return ["--from", f"2024-01-{first:02d}", "--to", f"2024-01-{last:02d}"]


DAYS = days(1, 5)
RUNS = ["2024-01-03", "2024-01-04", "2024-01-05"]
"""Of a backfill of these days: the first three are one run."""


def command(
    name: str, logs: Path, workdir: Path, *arguments: str, sets: Sequence[str] = ()
) -> list[str]:
    overrides = (f"daily.window={WINDOW}", *sets)
    return [name, *simulated_job.arguments(logs, workdir, *overrides), *arguments]


def run(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return equipoise(*command(*arguments, **more), timeout=1800)


def run_script(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """The same by the installed script."""
    return subprocess.run(
        [EQUIPOISE, *command(*arguments)], capture_output=True, text=True, timeout=1800
    )


def run_and_kill(seconds: float, *arguments: Any) -> bool:
    """Kills a command and all that it started after some time; whether it was still running."""
    process = Command(*command(*arguments))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.running:
        time.sleep(0.05)
    running = process.running
    process.kill()
    return running


def records(workdir: Path) -> dict[str, DayRecord]:
    return {str(day): record for day, record in read_records(str(workdir / "daily")).items()}


def summary(workdir: Path, day: str) -> dict[str, Any]:
    return json.loads((workdir / "daily" / day / "summary.json").read_text())


def assert_same_result(one: Path, other: Path) -> None:
    """The same rows, keys, counts and verdicts of every day; metrics of all rows within the noise.

    Two undisturbed backfills differ as well: TensorFlow's threads add up in whatever order, and
    Adam makes much of it. After three days weights differ by up to .005 and AUCs by .0002.
    """
    import tensorflow as tf

    mine, theirs = records(one), records(other)
    assert list(mine) == list(theirs)
    for day, record in mine.items():
        assert record.key == theirs[day].key and record.blessed == theirs[day].blessed
        found, expected = summary(one, day), summary(other, day)
        assert found["day"] == expected["day"] and _counts(found) == _counts(expected)
        for cell, same in zip(found["metrics"], expected["metrics"], strict=True):
            for name in ("task", "scenario", "examples", "positives", "status"):
                assert cell[name] == same[name], (day, cell, same)
            if cell["scenario"] == "*":
                for name in ("auc", "gauc", "logloss", "calibration"):
                    assert abs(cell[name] - same[name]) < NOISE, (day, name, cell, same)
        # What the table counted: examples, steps, keys, admissions, evictions.
        readers = [tf.train.load_checkpoint(r.trained) for r in (record, theirs[day])]
        names = [set(reader.get_variable_to_shape_map()) for reader in readers]
        assert names[0] == names[1]
        compared = 0
        for name in names[0] - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
            values = [reader.get_tensor(name) for reader in readers]
            if values[0].dtype.kind == "i":
                np.testing.assert_array_equal(*values, err_msg=f"{day}: {name}")
                compared += 1
        assert compared >= 8, sorted(names[0])


def _counts(summary: dict[str, Any]) -> dict[str, Any]:
    """Of the rows; whether a day arrived again depends on what ran before."""
    return {name: value for name, value in summary["data"].items() if name != "arrived_again"}
