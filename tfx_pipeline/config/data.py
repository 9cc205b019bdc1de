"""Which logs are read, and how rows become examples."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tfx_pipeline.config.clock import ClockConfig
from tfx_pipeline.config.duration import Duration
from tfx_pipeline.config.outcomes import OutcomesConfig
from tfx_pipeline.config.schema_changes import SchemaChangesConfig
from tfx_pipeline.config.section import Section


class DaySource(Section):
    """Where the day of a row comes from."""

    column: str | None = Field(
        None, description="Column that holds the day. Leave out to take it from the file's path."
    )
    format: str = Field(
        "%Y-%m-%d",
        description="strptime format of the column's text, for example `%Y%m%d` for 20220425.",
    )


class SideTable(Section):
    """A user or item table joined to every row by its key."""

    files: str = Field(description="Glob below `data.path` of the table's files.")
    key: str = Field(description="Column, in the table and in the log, that joins them.")


class DayRange(Section):
    """Days from `start` to `end`, both included."""

    start: datetime.date = Field(description="The first day.")
    end: datetime.date = Field(description="The last day.")

    @model_validator(mode="after")
    def _ordered(self) -> DayRange:
        if self.end < self.start:
            raise ValueError(f"ends ({self.end}) before it starts ({self.start})")
        return self

    def days(self) -> list[datetime.date]:
        """All days of the range, in order."""
        return [
            self.start + datetime.timedelta(days=i) for i in range((self.end - self.start).days + 1)
        ]


def _range_from_text(value: Any) -> Any:
    """Accepts `2022-04-25` and `2022-04-25..2022-05-03` beside `{start:, end:}`."""
    if isinstance(value, datetime.date):
        return {"start": value, "end": value}
    if isinstance(value, str):
        first, _, last = value.partition("..")
        return {"start": first.strip(), "end": (last or first).strip()}
    return value


Days = Annotated[DayRange, BeforeValidator(_range_from_text)]


class DataConfig(Section):
    """Which logs are read, and how rows become examples."""

    path: str = Field(
        description="Folder that holds the logs and the joined tables: a path, also from `~`, or a "
        "URI that Beam reads, such as `s3://bucket/logs`; see docs/how-to/object-stores.md."
    )
    logs: str = Field(
        description="Glob below `data.path` of the log files. `{YYYY}`, `{MM}` and `{DD}` in it "
        "stand for the day; files of days that are not needed are then not opened."
    )
    format: Literal["auto", "csv", "tsv", "parquet", "jsonl"] = Field(
        "auto",
        description="Format of the logs and tables; `auto` goes by the file name "
        "(.csv, .csv.gz, .tsv, .tsv.gz, .parquet, .jsonl, .jsonl.gz). Tabs are between the columns "
        "of `tsv`.",
    )
    day: DaySource = Field(default_factory=DaySource, description="Where a row's day comes from.")
    event_key: list[str] = Field(
        min_length=1,
        description="Columns that together identify an event; rows that repeat a key are dropped "
        "after the first.",
    )
    duplicate_days: int = Field(
        3,
        ge=0,
        description="For how many days event keys are kept in the feature state, 8 bytes each, so "
        "that an event is found which arrives again in the log of a later day, when only that day "
        "is read.",
    )
    state: Path | None = Field(
        None,
        description="Feature state of an earlier run, to go on from: past-days statistics, "
        "histories and event keys as of the end of its last day. It lies in the workdir, "
        "`pipeline/LogExampleGen/feature_state/<number>`. Default: nothing is known of the days "
        "before the first.",
    )
    event_time: str = Field(
        description="Column with the event's time: a number in any unit, or a timestamp, which is "
        "counted in `data.clock.unit`, without it in seconds. In logs without a time, a number "
        "that grows with it, such as a row's place in its day."
    )
    user: str = Field(
        description="Column that identifies the user; GAUC is grouped by it, and noise measured by "
        "it. In logs without users, that of the device, the session or the request."
    )
    request: list[str] = Field(
        default_factory=list,
        description="Columns that together identify a request: the rows that were ranked together. "
        "Ranking tasks need it. They must be among `event_key`.",
    )
    success_marker: str | None = Field(
        None,
        description="Path below `data.path` of a file that says that a day is whole, such as "
        "`day={YYYY}-{MM}-{DD}/_SUCCESS`. A day without one is not read: the run stops.",
    )
    settle: Duration | None = Field(
        None,
        description="For how long files have not changed when they are read, such as `10m`; a run "
        "stops where one changed later.",
    )
    clock: ClockConfig | None = Field(
        None,
        description="How event times are read, and what becomes of rows of another day. Without it "
        "times are only compared.",
    )
    attribution_window: Duration | None = Field(
        None,
        description="For how long after an impression its outcomes count, such as `3d`. Needed "
        "with `data.outcomes`.",
    )
    outcomes: OutcomesConfig | None = Field(
        None,
        description="What users did, where it arrives in a log of its own. Without it all is in "
        "the rows of the log.",
    )
    schema_changes: SchemaChangesConfig = Field(default_factory=SchemaChangesConfig)
    tables: dict[str, SideTable] = Field(
        default_factory=dict, description="User and item tables to join, by a name of your choice."
    )
    train: Days = Field(description="Days to train on: `2022-04-25..2022-05-03`, or one day.")
    valid: Days | None = Field(
        description="Days for early stopping; `null` trains `training.epochs` epochs and keeps the "
        "last one."
    )
    eval: Days = Field(description="Days to evaluate and gate on.")
    empty_days: Literal["stop", "warn"] = Field(
        "stop",
        description="What happens where a day of a split has no row, as on days when a shop is "
        "closed. Every split needs a row. With `warn` the day is counted and reported.",
    )
    max_rejected_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The run stops when more than this share of the rows read is rejected.",
    )

    @field_validator("path")
    @classmethod
    def _expanded(cls, value: str) -> str:
        return os.path.expanduser(value.removeprefix("file://"))

    @model_validator(mode="after")
    def _in_time_order(self) -> DataConfig:
        ranges = self.splits
        order = [day for days in ranges.values() for day in (days.start, days.end)]
        if any(end >= start for end, start in zip(order[1:-1:2], order[2::2], strict=True)):
            found = ", ".join(f"{name} {days.start} to {days.end}" for name, days in ranges.items())
            raise ValueError(
                f"{', '.join(ranges)} must follow each other in time without overlap; found {found}"
            )
        return self

    @property
    def splits(self) -> dict[str, DayRange]:
        """The splits that there are, in order, and their days."""
        ranges = {"train": self.train, "valid": self.valid, "eval": self.eval}
        return {name: days for name, days in ranges.items() if days is not None}
