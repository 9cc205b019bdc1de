"""A count-min sketch that fades, kept in a few variables."""

from __future__ import annotations

import tensorflow as tf

from keras_models.embeddings.hashing import mix64, reduced
from keras_models.embeddings.variables import gather, scatter_max, table_variable

DEPTH = 4
KEYS_PER_HALF_LIFE = 0.5
"""Occurrences that a sketch keeps in a half-life before it fades faster, by cells of a row."""

_RESCALE_EXPONENT = 64
_SMALLEST = 2.0**-126


class CountMinSketch(tf.Module):
    """Approximate counts of keys in fixed memory, of which half is forgotten every half-life.

    Each key has one cell in each of `DEPTH` rows and is estimated by the least of them. Only the
    cells that are below a key's new count are raised, to that count ("conservative update"), so an
    estimate is never below what was kept of the key and has not faded. It is above where all of the
    key's cells are others', too. Of a key that comes for the first time, with a half-life's
    occurrences spread over n cells of W in a row,

        P(estimate >= 1.5) ~ (1 - exp(-n / W))^DEPTH

    and n is held below `KEYS_PER_HALF_LIFE` W: where more is kept, the sketch fades faster, one
    half-life with so many occurrences. So this is at most 5% whatever the stream (4% as simulated
    where every key is new, 2.4% by the formula, which leaves out that collisions raise counts), and
    the price of a stream with more keys is that they are forgotten sooner.

    Args:
      width: W, cells per row.
      salt: Salt of the hash functions.

    References: Cormode, Muthukrishnan, "An improved data stream summary", J. Algorithms 2005, and,
    for the update, Estan, Varghese, "New directions in traffic measurement", ACM TOCS 2003.
    """

    def __init__(self, width: int, salt: int, name: str | None = None):
        super().__init__(name=name)
        self._width = width
        self._salt = salt
        # A count c is kept as c * 2^age, which time does not change.
        self.cells = table_variable(tf.zeros([DEPTH * width]), "sketch")
        self.age = table_variable(tf.zeros([], tf.float64), "sketch_age")
        self._kept = table_variable(tf.zeros([], tf.float64), "sketch_kept")

    def fade(self, half_lives: tf.Tensor) -> None:
        """Lets time pass.

        Args:
          half_lives: float64 [], since the last time; more if more was kept in the meantime.
        """
        by_load = self._kept / (KEYS_PER_HALF_LIFE * self._width)
        self.age.assign_add(tf.maximum(half_lives, by_load))
        self._kept.assign(tf.zeros_like(self._kept))
        shift = tf.floor(self.age)
        tf.cond(shift >= _RESCALE_EXPONENT, lambda: self._rescale(shift), lambda: None)

    def estimate(self, keys: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """What keys have counted, with new occurrences.

        Args:
          keys: int64 [N].
          counts: float32 [N], the new occurrences.

        Returns:
          float32 [N], never too low.
        """
        return tf.reduce_min(gather(self.cells, self._cells(keys)), axis=0) / self._unit() + counts

    def keep(self, keys: tf.Tensor, estimates: tf.Tensor, counts: tf.Tensor) -> None:
        """Remembers what keys have counted.

        Args:
          keys: int64 [N], each at most once.
          estimates: float32 [N], of `estimate`.
          counts: float32 [N], how much of them is new.
        """
        cells = self._cells(keys)
        for row in range(DEPTH):
            scatter_max(self.cells, cells[row], estimates * self._unit())
        self._kept.assign_add(tf.reduce_sum(tf.cast(counts, tf.float64)))

    def _unit(self) -> tf.Tensor:
        """float32 []: as what an occurrence is kept now."""
        return tf.cast(2.0**self.age, tf.float32)

    def _rescale(self, shift: tf.Tensor) -> None:
        self.cells.assign(self.cells * tf.maximum(tf.cast(2.0**-shift, tf.float32), _SMALLEST))
        self.age.assign_sub(shift)

    def _cells(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [DEPTH, N]; two hashes make as many as are needed (Kirsch, Mitzenmacher 2006)."""
        hashed = mix64(keys, self._salt)
        first, second = reduced(hashed, 0, self._width), reduced(hashed, 32, self._width)
        return tf.stack(
            [(first + r * second) % self._width + r * self._width for r in range(DEPTH)]
        )
