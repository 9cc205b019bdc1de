"""What users did, where it arrives in a log of its own, after the impressions.

An outcome belongs to the last impression of its key that is not later than it is, and counts if
it follows within the attribution window. An impression's outcomes become columns that label
expressions read: of each, the largest or the sum of its values, 0 where there is no outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from transforms.labels import Expression, parse_expression

UNMATCHED, LATE = -1, -2
"""In place of an impression: there is none before the outcome; it is longer ago than the window."""


@dataclass(frozen=True)
class OutcomeColumn:
    """A column made of an impression's outcomes.

    Args:
      name: Its name.
      text: Expression over the columns of the outcomes log; a condition is 1 or 0.
      take: What is taken of the values.
    """

    name: str
    text: str
    take: Literal["max", "sum"]

    @cached_property
    def expression(self) -> Expression:
        """Gives an outcome's value; a missing one adds nothing."""
        return parse_expression(self.text, "a condition or a number")


@dataclass(frozen=True)
class Outcomes:
    """How outcomes are read and joined.

    Args:
      key: Columns of both logs that join them.
      time: Column of an outcome's time, in the unit of the impressions'.
      event_key: Columns that together with `key` identify an outcome; with none, all columns do.
      columns: What is made of them.
      window: Length of the attribution window, in the unit of the times.
      skew: How much earlier than its impression an outcome may seem to be, in that unit.
      time_unit: That unit.
    """

    key: tuple[str, ...]
    time: str
    event_key: tuple[str, ...]
    columns: tuple[OutcomeColumn, ...]
    window: float
    skew: float
    time_unit: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)


def attribute(
    keys: np.ndarray,
    times: np.ndarray,
    outcome_keys: np.ndarray,
    outcome_times: np.ndarray,
    window: float,
    skew: float,
) -> np.ndarray:
    """Finds the impression of every outcome.

    Args:
      keys: Keys of the impressions, [B].
      times: Their times, [B]. Of equal ones of a key the last row counts as the latest.
      outcome_keys: Keys of the outcomes, [O].
      outcome_times: Their times, [O].
      window: Length of the attribution window.
      skew: How much earlier than its impression an outcome may seem to be.

    Returns:
      Positions of the impressions, or `UNMATCHED`, or `LATE`, int64 [O].
    """
    impressions = len(keys)
    every_key = np.concatenate([keys, outcome_keys])
    every_time = np.concatenate([times, outcome_times + skew])
    is_outcome = np.arange(len(every_key)) >= impressions
    order = np.lexsort((is_outcome, every_time, every_key))
    # The last impression up to each place in that order, by its own place.
    places = np.maximum.accumulate(np.where(is_outcome[order], -1, np.arange(len(order))))
    latest = np.where(places >= 0, order[places], -1)[is_outcome[order]]
    found = np.empty(len(outcome_keys), np.int64)
    found[order[is_outcome[order]] - impressions] = latest
    if not impressions:
        return found
    same = (found >= 0) & (keys[found] == outcome_keys)
    late = same & (outcome_times - times[found] > window)
    return np.where(late, LATE, np.where(same, found, UNMATCHED))


def in_turn(positions: np.ndarray) -> Iterator[np.ndarray]:
    """The first outcome of each impression, then the second of those that have one, and so on.

    Args:
      positions: The impression of every outcome, [O].

    Yields:
      Places in `positions`, int64; each impression's outcomes in the order that they have there.
    """
    order = np.argsort(positions, kind="stable")
    _, first, counts = np.unique(positions[order], return_index=True, return_counts=True)
    for turn in range(counts.max(initial=0)):
        yield order[first[counts > turn] + turn]


def combine(values: np.ndarray, positions: np.ndarray, size: int, take: str) -> np.ndarray:
    """Combines the outcomes of each impression.

    Args:
      values: A value of every outcome, NaN where it adds nothing, float64 [O].
      positions: Its impression, [O].
      size: Number of impressions, B.
      take: `max` or `sum`.

    Returns:
      Float64 [B], 0 where there is no value.
    """
    present = ~np.isnan(values)
    values, positions = values[present], positions[present]
    if take == "sum":
        return np.bincount(positions, values, size)
    largest = np.full(size, -np.inf)
    np.maximum.at(largest, positions, values)
    return np.where(np.isinf(largest), 0.0, largest)
