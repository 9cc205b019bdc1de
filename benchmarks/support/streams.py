"""Keys as a training job sees them: a few are read all the time, most hardly ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

SHAPE = (4096, 20)
"""Examples and fields of a batch."""

NEW_KEYS = 400
"""New keys a batch: 1% of it, as each occurs twice."""


def random_keys(number: int, seed: int) -> np.ndarray:
    """Distinct 64-bit fingerprints: int64 [number]."""
    return np.unique(np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, number + 64))[
        :number
    ]


class ZipfStream:
    """Batches of keys whose popularity follows Zipf's law, with some that are new.

    The key of rank r is drawn with a probability in proportion to r^-exponent. A new key occurs in
    two batches, one after the other, and never again.

    Args:
      keys: int64 [N], known keys; their ranks are drawn.
      exponent: Of Zipf's law.
      seed: Seeds all draws.
      new_keys: New keys a batch.
    """

    def __init__(
        self,
        keys: np.ndarray,
        exponent: float,
        seed: int,
        new_keys: int = NEW_KEYS,
    ):
        self._rng = np.random.default_rng(seed)
        self._keys = self._rng.permutation(keys)
        self._cumulated = np.cumsum(np.arange(1, len(keys) + 1, dtype=np.float64) ** -exponent)
        self._new_keys = new_keys

    def take(self, batches: int) -> list[np.ndarray]:
        """The first so many batches, int64 [examples, fields] each."""
        return list(islice(self, batches))

    def __iter__(self) -> Iterator[np.ndarray]:
        """All batches, without end."""
        size = SHAPE[0] * SHAPE[1]
        before = self._fresh()
        while True:
            drawn = self._rng.random(size) * self._cumulated[-1]
            batch = self._keys[np.searchsorted(self._cumulated, drawn)]
            fresh = self._fresh()
            places = self._rng.permutation(size)[: 2 * self._new_keys]
            batch[places] = np.concatenate([before, fresh])
            before = fresh
            yield batch.reshape(SHAPE)

    def _fresh(self) -> np.ndarray:
        return self._rng.integers(-(2**63), 2**63 - 1, self._new_keys)
