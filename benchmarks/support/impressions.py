"""Impressions for the models' benchmarks: alike for every side; nothing but NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BATCH = 4096
FIELDS = 16
DIM = 16
EXPERT_UNITS = 64
TOWER_UNITS = 32
EXPERTS_PER_TASK = 3
SHARED_EXPERTS = 2
LEVELS = 2
MMOE_EXPERTS = 8


class Batch(NamedTuple):
    """Impressions.

    Args:
      ids: int64 [BATCH, FIELDS], each field's own, from 0.
      labels: float32 [BATCH, K].
    """

    ids: np.ndarray
    labels: np.ndarray


class Impressions:
    """Batches without end; every id of a field is as likely as any other.

    Args:
      ids: How many each field has.
      tasks: K.
    """

    def __init__(self, ids: int, tasks: int):
        self._rng = np.random.default_rng(0)
        self._ids = ids
        self._tasks = tasks

    def take(self, batches: int) -> list[Batch]:
        """So many more."""
        return [
            Batch(
                self._rng.integers(self._ids, size=(BATCH, FIELDS)),
                self._rng.integers(2, size=(BATCH, self._tasks)).astype(np.float32),
            )
            for _ in range(batches)
        ]
