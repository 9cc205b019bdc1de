"""The run of one day, planned."""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_pipeline.code_version import code_version
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import Ancestors, find_ancestors, on_day
from tfx_pipeline.daily.record import day_folder, read_records
from tfx_pipeline.inputs import fingerprint_inputs
from tfx_pipeline.pipeline import PROGRAM
from tfx_pipeline.summary import SUMMARY
from transforms.problems import InputError, Problem

DAILY = "daily"
"""Folder of a workdir: a folder a day, with its record and its summary."""


@dataclass(frozen=True)
class Unit:
    """The run of one day.

    Args:
      day: The day.
      config: The job's config, which says whether the day begins a lineage.
      settings: The config of the day: its splits, and what it goes on from.
      ancestors: What it goes on from.
      inputs: Fingerprint of the files that it reads.
      daily_dir: Where the records of days are kept.
    """

    day: datetime.date
    config: Config
    settings: Config
    ancestors: Ancestors
    inputs: str
    daily_dir: str

    @classmethod
    def plan(cls, config: Config, workdir: Path, day: datetime.date) -> Unit:
        """Looks up what the day reads and goes on from.

        Args:
          config: The job's config.
          workdir: Where the days were run.
          day: The day.

        Raises:
          InputError: if files are missing, or the day before was not run.
        """
        daily_dir = str(workdir / DAILY)
        ancestors = find_ancestors(read_records(daily_dir), config, day)
        config = config.with_full(ancestors.parent is None)
        settings = on_day(config, str(day), ancestors)
        return cls(day, config, settings, ancestors, fingerprint_inputs(settings), daily_dir)

    @property
    def key(self) -> str:
        """Names the run by all that its result depends on."""
        parts = [
            str(self.day),
            # On what it runs changes no result.
            self.config.model_dump_json(
                exclude={"beam": True, "kubeflow": True, "data": {"train", "valid", "eval"}}
            ),
            self.inputs,
            code_version(*PROGRAM),
            self.ancestors.key,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def finished(self) -> dict[str, Any] | None:
        """The summary of the same run, if it was done before and no input has changed since."""
        record = read_records(self.daily_dir).get(self.day)
        path = Path(day_folder(self.daily_dir, self.day), SUMMARY)
        if record is None or record.key != self.key or not path.is_file():
            return None
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summary if summary["day"]["key"] == self.key else None

    def describe(self) -> dict[str, Any]:
        """What `summary.json` says of the day."""
        parent, data = self.ancestors.parent, self.settings.data
        return {
            "day": str(self.day),
            "key": self.key,
            "full": self.config.daily.full,
            "train": [str(data.train.start), str(data.train.end)],
            "evaluated": str(data.eval.start),
            "parent": None if parent is None else str(parent.day),
        }


def check_newest(records_dir: str, day: datetime.date) -> None:
    """Stops a run that would end on an earlier day than the newest one that was run.

    Its model would be pushed, and serve instead of that of a later day.

    Args:
      records_dir: Where the records of days are kept.
      day: The day that the run ends on.

    Raises:
      InputError: if there is a record of a later day.
    """
    newest = max(read_records(records_dir), default=day)
    if newest > day:
        raise InputError(
            [
                Problem(
                    f"day {day}",
                    f"a run of a later day, {newest}",
                    "no day after it: its model would be pushed after that of a later day",
                    f"To go through the days again: equipoise backfill CONFIG --from {day} --to "
                    f"{newest}; or choose another --workdir.",
                )
            ]
        )
