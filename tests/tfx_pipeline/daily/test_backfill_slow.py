"""Backfills that take minutes: killed again and again, and a month unattended."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

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
        backfills.command(
            *("backfill", logs, workdir, *backfills.days(1, 30)),
            sets=[f"model.embedding.capacity={capacity}"],
        ),
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    resident = {}
    for line in process.stdout:
        if line.startswith("2024-01"):
            resident[line[:10]] = _resident_mib(process.pid)
    assert process.wait() in (0, 3)
    found = backfills.records(workdir)
    assert len(found) == len(resident) == 30 - backfills.WINDOW + 1
    for record in found.values():
        assert Path(record.trained + ".index").is_file()
    evictions = [_evictions(workdir, day) for day in found]
    assert all(evictions[5:]), "the table never had to evict"
    values = list(resident.values())
    # The first days warm up allocators and caches.
    print("MiB by day:", values)
    assert max(values[-5:]) < 1.1 * max(values[4:9]), values


def _distinct_keys(logs: Path) -> int:
    columns = ["user_id", "item_id", "author_id"]
    tables = [pq.read_table(file, columns=columns) for file in logs.glob("*.parquet")]
    return sum(
        len(set().union(*(t.column(name).unique().to_pylist() for t in tables))) for name in columns
    )


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _evictions(workdir: Path, day: str) -> float:
    record = backfills.records(workdir)[day]
    history = json.loads((Path(record.trained).parent / "history.json").read_text())
    return sum(epoch["table"]["evictions"] for epoch in history["epochs"])
