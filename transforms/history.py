"""Histories: what a user did before a row, as features of it.

A behaviour is a row of the user: the items that it was of, and a few properties. A row's history
is the last N behaviours of its user strictly before its event time, oldest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PREFIX = "history:"
"""Features that are of a history start with it; each holds a value a behaviour."""

MISSING = b"\xff"
"""In place of a text that a behaviour lacks; no UTF-8 text is this."""

AGE = f"{PREFIX}age"
"""Event time of the row less that of the behaviour."""


@dataclass(frozen=True)
class History:
    """What is kept of a behaviour, and of how many.

    Args:
      user: Column of the user.
      time: Column of the event time.
      items: Columns of what a behaviour was of.
      scenario: Column of its scenario; None leaves it out.
      labels: Tasks whose labels it has.
      age: Whether its age is a feature.
      length: Behaviours of a history, N at most.
    """

    user: str
    time: str
    items: tuple[str, ...]
    scenario: str | None
    labels: tuple[str, ...]
    age: bool
    length: int

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that are kept as text, each once."""
        scenario = () if self.scenario is None else (self.scenario,)
        return tuple(dict.fromkeys((*self.items, *scenario)))

    @property
    def text_features(self) -> tuple[str, ...]:
        """Names of its features that are text."""
        return tuple(f"{PREFIX}{column}" for column in self.texts)

    @property
    def number_features(self) -> tuple[str, ...]:
        """Names of its features that are numbers: labels, then the age."""
        return (*(f"{PREFIX}{task}" for task in self.labels), *([AGE] if self.age else []))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all its features; in a row all have as many values."""
        return (*self.text_features, *self.number_features)


def windows(
    users: np.ndarray, days: np.ndarray, times: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the behaviours before each row stand.

    Args:
      users: Numbers of the users, int [R].
      days: Ordinals, int [R].
      times: Float64 [R]; all rows are sorted by user, day and time.
      length: How many behaviours, at most.

    Returns:
      First and end of the rows of the same user that come before: int64 [R] each. Rows of the same
      day and time do not.
    """
    positions = np.arange(len(users))
    is_first = np.ones(len(users), bool)
    is_first[1:] = users[1:] != users[:-1]
    of_user = np.maximum.accumulate(np.where(is_first, positions, 0))
    is_first[1:] |= (days[1:] != days[:-1]) | (times[1:] != times[:-1])
    end = np.maximum.accumulate(np.where(is_first, positions, 0))
    return np.maximum(of_user, end - length), end
