"""A count-min sketch kept in one variable."""

from __future__ import annotations

import tensorflow as tf

from keras_models.embeddings.hashing import mix64, reduced
from keras_models.embeddings.variables import gather, scatter_add, scatter_max, table_variable

DEPTH = 2


class CountMinSketch(tf.Module):
    """Approximate counts of keys in fixed memory; estimates are never too low.

    Each key adds its weight to one cell in each of `DEPTH` rows and is estimated by the least of
    them. Weights are linear, so a caller that scales them scales every estimate.

    Args:
      width: Cells per row.
      salt: Salt of the hash functions.

    Reference: Cormode, Muthukrishnan, "An improved data stream summary", J. Algorithms 2005.
    """

    def __init__(self, width: int, salt: int, name: str | None = None):
        super().__init__(name=name)
        self._width = width
        self._salt = salt
        self.cells = table_variable(tf.zeros([DEPTH * width]), "sketch")

    def add(self, keys: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Counts distinct keys.

        Args:
          keys: int64 [N], each at most once.
          weights: float32 [N], what to add to each key's count.

        Returns:
          float32 [N], the estimates after the addition.
        """
        cells = self._cells(keys)
        for row in range(DEPTH):
            scatter_add(self.cells, cells[row], weights)
        return tf.reduce_min(gather(self.cells, cells), axis=0)

    def remove(self, keys: tf.Tensor, weights: tf.Tensor) -> None:
        """Takes counts back, so that the keys start from nothing; no cell falls below zero.

        Args:
          keys: int64 [N], each at most once.
          weights: float32 [N], their estimates.
        """
        cells = self._cells(keys)
        for row in range(DEPTH):
            scatter_add(self.cells, cells[row], -weights)
            scatter_max(self.cells, cells[row], tf.zeros_like(weights))

    def scale(self, factor: tf.Tensor) -> None:
        """Multiplies every count."""
        self.cells.assign(self.cells * factor)

    def _cells(self, keys: tf.Tensor) -> tf.Tensor:
        hashed = mix64(keys, self._salt)
        rows = [reduced(hashed, 32 * row, self._width) + row * self._width for row in range(DEPTH)]
        return tf.stack(rows)
