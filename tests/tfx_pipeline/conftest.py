"""Finished runs, which several modules look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline.simulate import simulate

from . import simulated_job
from .simulated_job import FinishedRun


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A first run, by the installed script. `test_main_job.py` goes on in its workdir."""
    folder = tmp_path_factory.mktemp("job")
    for name in ("logs", "untouched"):
        simulate(folder / name, days=7, rows_per_day=3_000)
    done = simulated_job.run_script(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return FinishedRun(folder, folder / "untouched", done, simulated_job.summary_of(folder))


@pytest.fixture(scope="session")
def daily_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days, 2024-01-01 the first."""
    folder = tmp_path_factory.mktemp("daily_logs")
    simulate(folder, days=8, rows_per_day=2_000)
    return folder


@pytest.fixture(scope="session")
def backfilled(daily_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of an undisturbed backfill of five days, by the installed script.

    Nothing changes it; what goes on from it does so in a copy.
    """
    # Imports TFX, which takes ten seconds: most modules here need none of it.
    from .daily import backfills

    workdir = tmp_path_factory.mktemp("backfilled")
    done = backfills.run_script("backfill", daily_logs, workdir, *backfills.DAYS)
    assert done.returncode == 0, done.stdout + done.stderr
    (workdir / "stdout").write_text(done.stdout)
    (workdir / "stderr").write_text(done.stderr)
    return workdir
