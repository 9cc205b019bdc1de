"""A count-min sketch kept in one variable."""

from __future__ import annotations

import tensorflow as tf

from keras_models.embeddings.hashing import mix64

DEPTH = 2


class CountMinSketch(tf.Module):
    """Approximate counts of keys in fixed memory; estimates are never too low.

    Each key adds its weight to one cell in each of `DEPTH` rows and is estimated by the least of
    them. Weights are linear, so a caller that scales them scales every estimate.

    Args:
      width: Cells per row; a power of two.
      salt: Salt of the hash functions.

    Reference: Cormode, Muthukrishnan, "An improved data stream summary", J. Algorithms 2005.
    """

    def __init__(self, width: int, salt: int, name: str | None = None):
        super().__init__(name=name)
        self._width = width
        self._salt = salt
        self.cells = tf.Variable(tf.zeros([DEPTH * width]), trainable=False, name="sketch")

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
            self.cells.scatter_add(tf.IndexedSlices(weights, cells[row]))
        return tf.reduce_min(tf.gather(self.cells, cells), axis=0)

    def remove(self, keys: tf.Tensor, weights: tf.Tensor) -> None:
        """Takes counts back, so that the keys start from nothing; no cell falls below zero.

        Args:
          keys: int64 [N], each at most once.
          weights: float32 [N], their estimates.
        """
        cells = self._cells(keys)
        for row in range(DEPTH):
            self.cells.scatter_sub(tf.IndexedSlices(weights, cells[row]))
            self.cells.scatter_max(tf.IndexedSlices(tf.zeros_like(weights), cells[row]))

    def _cells(self, keys: tf.Tensor) -> tf.Tensor:
        hashed = mix64(keys, self._salt)
        mask = tf.constant(self._width - 1, tf.uint64)
        rows = []
        for row in range(DEPTH):
            shifted = tf.bitwise.right_shift(hashed, tf.constant(32 * row, tf.uint64))
            rows.append(
                tf.cast(tf.bitwise.bitwise_and(shifted, mask), tf.int64) + row * self._width
            )
        return tf.stack(rows)
