"""Rows as a reader leaves them: whole columns, and the lines that are no rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class BrokenRow:
    """A line that cannot be read as a row.

    Args:
      row: Its number in the file, from 1 (for CSV the header is line 1).
      reason: Why; the same text for every row broken in the same way.
      raw: The line.
    """

    row: int
    reason: str
    raw: str


@dataclass(frozen=True)
class RawRows:
    """Rows of a part of a file, every column of the file as it was found.

    Args:
      table: The rows that could be read, [B].
      numbers: Their numbers in the file, from 1, int64 [B].
      broken: The rest.
      nested: Where a column of single values holds a list or an object instead (in `table` its
        JSON text), by column, bool [B].
    """

    table: pa.Table
    numbers: np.ndarray
    broken: tuple[BrokenRow, ...] = ()
    nested: Mapping[str, np.ndarray] = field(default_factory=dict)
