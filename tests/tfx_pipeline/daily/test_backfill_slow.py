"""Backfills that take minutes: killed again and again, and a month unattended."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tfx_pipeline.simulate import simulate

from . import backfills

pytestmark = pytest.mark.slow

KILLS = 20


def test_killed_twenty_times_it_ends_as_undisturbed(tmp_path: Path) -> None:
    logs, undisturbed, killed = (tmp_path / name for name in ("logs", "undisturbed", "killed"))
    simulate(logs, days=17, rows_per_day=2_000)
    days = backfills.days(1, 16)
    assert backfills.run("backfill", logs, undisturbed, *days).returncode in (0, 3)
    moments = random.Random(0)
    for kill in range(KILLS):
        running = backfills.run_and_kill(moments.uniform(12, 30), "backfill", logs, killed, *days)
        assert running, f"it was done after {kill} kills: give it more days"
    assert backfills.run("backfill", logs, killed, *days).returncode in (0, 3)
    backfills.assert_same_result(killed, undisturbed)


def test_thirty_days_unattended(tmp_path: Path) -> None:
    """With room for a fifth of all keys, memory stays flat and no day stops the backfill."""
    logs, workdir = tmp_path / "logs", tmp_path / "work"
    simulate(logs, days=31, rows_per_day=2_000)
    capacity = _distinct_keys(logs) // 5
    process = subprocess.Popen(
        [
            backfills.EQUIPOISE,
            *backfills.command(
                *("backfill", logs, workdir, *backfills.days(1, 30)),
                sets=[f"model.embedding.capacity={capacity}"],
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    peaks: dict[str, float] = {}
    with _Peak(process.pid) as peak:
        for line in process.stdout:
            if line.startswith("2024-01"):
                peaks[line[:10]] = peak.take()
    assert process.wait() in (0, 3)
    found = backfills.records(workdir)
    assert len(found) == len(peaks) == 30 - backfills.WINDOW + 1
    for record in found.values():
        assert Path(record.trained + ".index").is_file()
    evictions = [_evictions(workdir, day) for day in found]
    assert all(evictions[5:]), "the table never had to evict"
    values = list(peaks.values())
    print("MiB by day, at most:", [round(value) for value in values])
    # The first day is of another kind: it begins the lineage.
    assert max(values[-5:]) < 1.1 * max(values[1:6]), values


def _distinct_keys(logs: Path) -> int:
    columns = ["user_id", "item_id", "author_id"]
    tables = [pq.read_table(file, columns=columns) for file in logs.glob("*.parquet")]
    return sum(
        len(set().union(*(t.column(name).unique().to_pylist() for t in tables))) for name in columns
    )


class _Peak:
    """What a process and all that it started have in memory, at most, in MiB."""

    def __init__(self, pid: int):
        self._pid, self._highest, self._ended = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def take(self) -> float:
        """The most since it was last asked."""
        highest, self._highest = self._highest, 0.0
        return highest

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            with contextlib.suppress(psutil.NoSuchProcess):
                one = psutil.Process(self._pid)
                every = [one, *one.children(recursive=True)]
                resident = sum(process.memory_info().rss for process in every) / 2**20
                self._highest = max(self._highest, resident)


def _evictions(workdir: Path, day: str) -> float:
    record = backfills.records(workdir)[day]
    history = json.loads((Path(record.trained).parent / "history.json").read_text())
    return sum(epoch["table"]["evictions"] for epoch in history["epochs"])
