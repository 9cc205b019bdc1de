"""What delta sync has to know of a table's rows, besides the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SyncState:
    """How a table's N exported rows were trained.

    Args:
      fields: Names of the table's fields.
      lineage: Which cold start the rows come from.
      day: The newest day that the table has seen.
      keys: int64 [N], in the order in which the rows are exported.
      updates: int32 [N], steps that read and taught each row since it came in.
      born: int32 [N], the day on which it came in.
      field: int32 [N], position of the field that brought it.
    """

    fields: tuple[str, ...]
    lineage: int
    day: int
    keys: np.ndarray
    updates: np.ndarray
    born: np.ndarray
    field: np.ndarray
