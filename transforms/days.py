"""Days of rows, and the splits they fall into."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

OUT_OF_RANGE = -1


@dataclass(frozen=True)
class Splits:
    """Splits by day, never by chance.

    Args:
      ranges: First and last day of every split, both included.
    """

    ranges: Mapping[str, tuple[datetime.date, datetime.date]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits, in order."""
        return tuple(self.ranges)

    @property
    def days(self) -> dict[datetime.date, str]:
        """Every day that is needed, with its split, in order."""
        return {
            first + datetime.timedelta(days=i): name
            for name, (first, last) in self.ranges.items()
            for i in range((last - first).days + 1)
        }

    def of(self, days: np.ndarray) -> np.ndarray:
        """Position of the split of every day.

        Args:
          days: Proleptic ordinals (`date.toordinal`), int [B].

        Returns:
          Positions in `names`, or `OUT_OF_RANGE`, int8 [B].
        """
        splits = np.full(len(days), OUT_OF_RANGE, np.int8)
        for i, (first, last) in enumerate(self.ranges.values()):
            splits[(days >= first.toordinal()) & (days <= last.toordinal())] = i
        return splits


def parse_days(texts: pa.Array, format: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads days by a strptime format; each distinct text once.

    Args:
      texts: Strings, [B].
      format: strptime format.

    Returns:
      Proleptic ordinals, int32 [B], 0 where there is none, and where a text is there but is
      no day, bool [B].
    """
    unique = texts.dictionary_encode()
    parsed = np.array([_ordinal(t, format) for t in unique.dictionary.to_pylist()] + [0], np.int32)
    # A missing text takes the last entry.
    positions = unique.indices.fill_null(len(parsed) - 1).to_numpy(zero_copy_only=False)
    days = parsed[positions]
    return days, (days == 0) & texts.is_valid().to_numpy(zero_copy_only=False)


def _ordinal(text: str, format: str) -> int:
    try:
        return datetime.datetime.strptime(text, format).toordinal()
    except ValueError:
        return 0
