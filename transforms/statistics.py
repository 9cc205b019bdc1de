"""Past-days statistics: how often a key was shown, and how often its labels were positive.

For a key k, a day d and a task t, over rows of strictly earlier days only,

    count = sum over d' < d of w(d') n(k, d'),      w(d') = 2^-((d - 1 - d') / half_life_days)
    rate  = (positives + prior * global_rate) / (count + prior)

with positives summed as count is, and global_rate = positives / count over all keys. Without a
half-life w = 1. A key without earlier rows has the count 0 and the global rate; on a day without
any earlier row the rate is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PREFIX = "stat:"
"""Features that are statistics start with it."""


@dataclass(frozen=True)
class Statistic:
    """What is counted, and by what.

    Args:
      by: Columns whose values together are the key.
      of: Tasks whose positives are counted.
      prior: Rows' worth of the global rate that every key starts with.
      half_life_days: Age at which a row counts half. None: all earlier rows count alike.
    """

    by: tuple[str, ...]
    of: tuple[str, ...]
    prior: float
    half_life_days: float | None = None

    @property
    def name(self) -> str:
        """Its columns, and its half-life if it has one: `user_id+tab@3d`."""
        fade = "" if self.half_life_days is None else f"@{self.half_life_days:g}d"
        return "+".join(self.by) + fade

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features: the count, then the rate of every task."""
        rates = (f"{PREFIX}{self.name}:{task}:rate" for task in self.of)
        return (f"{PREFIX}{self.name}:count", *rates)

    def values(self, sums: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Features from sums.

        Args:
          sums: Of the keys: count, then positives of every task, float64 [R, 1 + T].
          totals: Of all keys together, as of the same days, float64 [R, 1 + T] or [1 + T].

        Returns:
          float32 [R, 1 + T], in the order of `features`; NaN where a rate is missing.
        """
        count, positives = sums[:, :1], sums[:, 1:]
        with np.errstate(invalid="ignore"):
            global_rates = totals[..., 1:] / totals[..., :1]
        rates = (positives + self.prior * global_rates) / (count + self.prior)
        return np.concatenate([count, rates], axis=1).astype(np.float32)


def feature_names(statistics: Sequence[Statistic]) -> tuple[str, ...]:
    """Names of all features of the statistics, in order."""
    return tuple(name for statistic in statistics for name in statistic.features)


def past_sums(
    groups: np.ndarray,
    days: np.ndarray,
    rows: np.ndarray,
    start: np.ndarray,
    start_day: int,
    end_day: int,
    state_day: int,
    half_life_days: float | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over strictly earlier days, for every row, and those that later days will need.

    Args:
      groups: Which key a row is of, int [R] in [0, G).
      days: Ordinals in (`start_day`, `end_day`], int [R].
      rows: What each row adds to its key: whole numbers, so that the order of the rows changes
        nothing, [R, C].
      start: Sums of every key as of the end of `start_day`, float64 [G, C].
      start_day: The day before the first.
      end_day: The last day.
      state_day: The day that the sums which go on are as of the end of, at most `end_day`.
      half_life_days: Age at which a row counts half; None for never.

    Returns:
      float64 [R, C]: as of the end of the day before each row's.
      float64 [G, C]: as of the end of `state_day`.
      float64 [G, C]: as of the end of `end_day`.
    """
    before = np.empty(rows.shape, np.float64)
    order = np.argsort(days, kind="stable")
    ends = np.searchsorted(days[order], np.arange(start_day, end_day + 1), side="right")
    sums = kept = start
    for day, first, end in zip(range(start_day + 1, end_day + 1), ends[:-1], ends[1:], strict=True):
        # Also on days without rows: so every key fades by the same steps, whichever keys it is
        # computed beside and on whichever day its sums were carried on, to the last bit.
        today = order[first:end]
        before[today] = sums[groups[today]]
        if half_life_days is not None:
            sums = sums * 2.0 ** (-1 / half_life_days)
        if len(today):
            added = [np.bincount(groups[today], c, minlength=len(start)) for c in rows[today].T]
            sums = sums + np.stack(added, axis=1)
        if day == state_day:
            kept = sums
    return before, kept, sums
