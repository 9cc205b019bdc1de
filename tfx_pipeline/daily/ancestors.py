"""What the run of a day goes on from."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tfx_pipeline.artifacts import ParentPointer, read_json
from tfx_pipeline.config import Config
from tfx_pipeline.config.data import DayRange
from tfx_pipeline.daily.record import DayRecord
from transforms.problems import InputError, Problem

_DAY = datetime.timedelta(days=1)


class Ancestors(BaseModel):
    """Days that the run of a day goes on from.

    Args:
      parent: The day whose weights, tables, optimizers and transform graph it takes up; None where
        it begins a lineage.
      state: The day whose feature state it takes up: the one before its first day, whatever the
        gate said of the model of that day. None where nothing is known of earlier days.
      baseline: The last blessed day, which the gate compares with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: DayRecord | None
    state: DayRecord | None
    baseline: DayRecord | None

    @property
    def key(self) -> str:
        """Changes when any of them does."""
        keys = [r.key if r else "" for r in (self.parent, self.state, self.baseline)]
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def find_ancestors(
    records: Mapping[datetime.date, DayRecord], config: Config, day: datetime.date
) -> Ancestors:
    """Looks up what a day goes on from.

    Args:
      records: Of the days that were run.
      config: The job's config; of it `daily`.
      day: The day.

    Raises:
      InputError: if the day goes on from a parent, and the day before it was not run.
    """
    earlier = [records[d] for d in sorted(records) if d < day]
    blessed = [record for record in earlier if record.blessed]
    candidates = earlier if config.daily.parent == "newest" else blessed
    parent = candidates[-1] if candidates and not config.daily.full else None
    before = on_day(config.with_full(parent is None), str(day)).data.train.start - _DAY
    if parent is not None and before not in records:
        raise InputError(
            [
                Problem(
                    f"day {day}",
                    f"no run of {before}, the newest before it is that of {earlier[-1].day}",
                    "the day before, whose feature state this one goes on from",
                    f"Run the days between, {earlier[-1].day + _DAY} to {day}, one after the other "
                    "(equipoise backfill; on Kubeflow a run each), or begin anew with --full.",
                )
            ]
        )
    return Ancestors(
        parent=parent, state=records.get(before), baseline=blessed[-1] if blessed else None
    )


def read_ancestors(uri: str) -> Ancestors:
    """What the run of a day goes on from, by its ParentPointer."""
    return Ancestors.model_validate(read_json(uri, ParentPointer.FILE))


def on_day(config: Config, day: str, ancestors: Ancestors | None = None) -> Config:
    """The config of the run of a day.

    Args:
      config: The job's.
      day: The day, YYYY-MM-DD; empty for the config's own days.
      ancestors: What it goes on from.

    Returns:
      The config with the day's splits: it trains on the day, or on the window up to it, and
      evaluates on the day after.
    """
    if not day:
        return config
    last = datetime.date.fromisoformat(day)
    daily = config.daily
    first = last - (daily.window - 1) * _DAY if daily.full else last
    update = {
        "train": DayRange(start=first, end=last - _DAY if daily.full else last),
        "valid": DayRange(start=last, end=last) if daily.full else None,
        "eval": DayRange(start=last + _DAY, end=last + _DAY),
    }
    parent = ancestors.parent if ancestors else None
    state = ancestors.state if ancestors else None
    return _with_decay(config).model_copy(
        update={
            "data": config.data.model_copy(
                update={**update, "state": Path(state.feature_state) if state else None}
            ),
            "features": config.features.model_copy(
                update={"transform_graph": Path(parent.transform_graph) if parent else None}
            ),
            "training": config.training.model_copy(
                update={
                    "start": Path(parent.trained) if parent else None,
                    "epochs": config.training.epochs if daily.full else daily.epochs,
                }
            ),
        }
    )


def _with_decay(config: Config) -> Config:
    """The same, with the epochs in which the weights of tasks change, as the days have others."""
    loss = config.model.loss
    if loss.decay_epochs is not None or all(t.gamma == 1 for t in config.tasks.values()):
        return config
    loss = loss.model_copy(update={"decay_epochs": config.training.epochs})
    return config.model_copy(update={"model": config.model.model_copy(update={"loss": loss})})
