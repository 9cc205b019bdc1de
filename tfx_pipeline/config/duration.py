"""Lengths of time in a config."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _from_text(value: Any) -> Any:
    if isinstance(value, datetime.timedelta):
        return value
    found = re.fullmatch(r"(\d+)([smhd])", str(value).strip())
    if found is None:
        raise ValueError(
            f"{value!r}, which is no length of time: a number and s, m, h or d, such as 30m or 3d"
        )
    try:
        return datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ValueError(f"{value!r}, which is too long") from None


def show_duration(span: datetime.timedelta) -> str:
    """A length of time as a config has it."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    datetime.timedelta,
    BeforeValidator(_from_text),
    PlainSerializer(show_duration, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""Written as `30m` or `3d`."""
