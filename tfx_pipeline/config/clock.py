"""How event times are read."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Literal

from pydantic import Field, field_validator

from tfx_pipeline.config.duration import Duration
from tfx_pipeline.config.section import Section


class ClockConfig(Section):
    """How event times are read, and what becomes of a row whose time is not of its day."""

    unit: Literal["s", "ms", "us", "ns"] = Field(
        description="Unit of the event time, which counts from 1970-01-01 in UTC. Timestamps are "
        "counted in it, whatever unit they are stored in."
    )
    time_zone: str = Field(
        "UTC", description="Whose midnights part the days, for example Asia/Shanghai."
    )
    max_skew: Duration = Field(
        datetime.timedelta(minutes=10),
        description="How far clocks may disagree: a row that is no further off its day keeps it, "
        "and an outcome may seem to be that much earlier than its impression.",
        json_schema_extra={"default": "10m"},
    )
    other_day: Literal["reject", "keep"] = Field(
        "reject",
        description="What becomes of a row that is further off its day; either way it is counted.",
    )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError(f"{value!r}, which is no time zone, such as Asia/Shanghai")
        return value
