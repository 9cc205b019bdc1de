"""A 64-bit mixing function in TensorFlow ops that have CPU and GPU kernels."""

from __future__ import annotations

import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def mix64(keys: tf.Tensor, salt: int) -> tf.Tensor:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the key.

    Args:
      keys: int64 or uint64 tensor of any shape; every value is allowed.
      salt: Different salts give independent functions.

    Returns:
      uint64 tensor of the same shape.

    Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    x = tf.bitcast(keys, tf.uint64) + tf.constant((salt + 1) * _GOLDEN % 2**64, tf.uint64)
    x = _xor_shift(x, 30) * tf.constant(_FIRST, tf.uint64)
    x = _xor_shift(x, 27) * tf.constant(_SECOND, tf.uint64)
    return _xor_shift(x, 31)


def reduced(hashed: tf.Tensor, shift: int, size: int) -> tf.Tensor:
    """Numbers in [0, size) from 32 bits of a hash: their product with `size`, shifted down.

    Args:
      hashed: uint64 tensor of any shape.
      shift: First of the 32 bits, 0 or 32.
      size: At most 2^32; any, not only powers of two.

    Returns:
      int64 tensor of the same shape.

    Reference: Lemire, "Fast random integer generation in an interval", ACM TOMACS 2019.
    """
    low = tf.constant(2**32 - 1, tf.uint64)
    bits = tf.bitwise.bitwise_and(
        tf.bitwise.right_shift(hashed, tf.constant(shift, tf.uint64)), low
    )
    product = bits * tf.constant(size, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.int64)


def uniform_rows(keys: tf.Tensor, dim: int, limit: float, salt: int) -> tf.Tensor:
    """Rows of uniform numbers in [-limit, limit) that depend on the key alone.

    A key that comes back after its eviction, a training that goes on after a kill and a second
    replica all draw the same row, without a random state to keep.

    Args:
      keys: int64 [N].
      dim: Width D of a row.
      limit: Half the width of the interval.
      salt: Different salts give independent rows.

    Returns:
      float32 [N, D].
    """
    columns = tf.range(dim, dtype=tf.int64)[None, :]
    bits = mix64(tf.bitcast(mix64(keys, salt), tf.int64)[:, None] + columns, salt)
    unit = tf.cast(tf.bitwise.right_shift(bits, tf.constant(40, tf.uint64)), tf.float32) / 2**24
    return (2.0 * unit - 1.0) * limit


def _xor_shift(x: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(bits, tf.uint64)))
