"""Runs one day after the other."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx_pipeline.config import Config
from tfx_pipeline.daily.record import read_records
from tfx_pipeline.daily.unit import DAILY, Unit, check_newest
from tfx_pipeline.own_process import in_own_process
from tfx_pipeline.runners import local
from transforms.problems import InputError, Problem

_DAY = datetime.timedelta(days=1)


def backfill(
    config: Config,
    *,
    config_path: str,
    workdir: Path,
    first: datetime.date,
    last: datetime.date,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Trains on the days of a range, a day at a time.

    Where no earlier day can be gone on from, the first `daily.window` days are one run that begins
    a lineage. A day that was run before, with the same config, program, logs and ancestors, is not
    run again; so a backfill that was killed goes on where it was.

    Args:
      config: The job's config.
      config_path: Where it came from, for the summaries.
      workdir: As for `tfx_pipeline.runners.local.run_day`.
      first: First day to train on.
      last: Last day.

    Yields:
      After each day its summary, and whether it was done before.

    Raises:
      InputError: if the range is too short or ends before days that were run; as `run_day` does.
    """
    for day in _days(config, workdir, first, last):
        unit = Unit.plan(config, workdir.resolve(), day)
        done = unit.finished()
        if done is None:
            # In one process each day would leave about 20 MiB behind.
            summary = in_own_process(
                local.run_day, config, config_path=config_path, workdir=workdir, day=day
            )
            yield summary, False
        else:
            yield done, True


def _days(
    config: Config, workdir: Path, first: datetime.date, last: datetime.date
) -> list[datetime.date]:
    daily_dir = str(workdir / DAILY)
    check_newest(daily_dir, last)
    earlier = [r for d, r in read_records(daily_dir).items() if d < first]
    goes_on = any(r.blessed or config.daily.parent == "newest" for r in earlier)
    window = config.daily.window
    start = first if goes_on and not config.daily.full else first + (window - 1) * _DAY
    if start > last:
        raise InputError(
            [
                Problem(
                    f"--from {first} --to {last}",
                    f"{max(0, (last - first).days + 1)} days, and no earlier day to go on from",
                    f"at least daily.window, {window} days: they begin a lineage",
                    "Move one of the days, or set daily.window.",
                )
            ]
        )
    return [start + i * _DAY for i in range((last - start).days + 1)]
