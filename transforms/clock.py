"""Event times as the ticks of a clock: which day they are of, as far as clocks agree."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Ticks a second, by the name of the unit."""


@dataclass(frozen=True)
class Clock:
    """How event times are read; they count from 1970-01-01 in UTC.

    Args:
      unit: Unit of the times: a key of `TICKS`.
      time_zone: Whose midnights part the days, by its IANA name.
      max_skew: How far clocks may disagree.
      reject: Whether a row that is further off its day is rejected.
    """

    unit: str
    time_zone: str
    max_skew: datetime.timedelta
    reject: bool

    def ticks(self, span: datetime.timedelta) -> float:
        """A span of time in the unit."""
        return span.total_seconds() * TICKS[self.unit]

    def distance(self, times: np.ndarray, days: np.ndarray) -> np.ndarray:
        """How far times lie outside of their days.

        Args:
          times: Event times, float64 [B].
          days: Proleptic ordinals, int [B].

        Returns:
          Ticks before the day's first midnight or after its last tick, 0 within, [B].
        """
        distinct, positions = np.unique(days, return_inverse=True)
        first = np.array([self._midnight(day) for day in distinct])[positions]
        end = np.array([self._midnight(day + 1) for day in distinct])[positions]
        # The day's end is the next day's first tick.
        return np.maximum(0, np.maximum(first - times, np.floor(times) - end + 1))

    def _midnight(self, day: int) -> float:
        date = datetime.date.fromordinal(int(day))
        midnight = datetime.datetime.combine(date, datetime.time(), ZoneInfo(self.time_zone))
        return midnight.timestamp() * TICKS[self.unit]
