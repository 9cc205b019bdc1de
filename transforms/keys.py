"""Embedding keys: 64-bit fingerprints of (field, value).

All fields share one key space, so that one look-up serves them all and a table
needs no vocabulary pass. A missing value has a key of its own, which no value
can collide with by construction: it is the fingerprint of one text, not of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def categorical_keys(fields: Sequence[str], values: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Keys of categorical features.

    Args:
      fields: F names.
      values: string [B, F].
      present: bool [B, F]; false where the value is missing.

    Returns:
      int64 [B, F].
    """
    # Taken row by row: a broadcast of texts goes through the thread pool, which in a request costs
    # more than all else that is done with them.
    names = tf.gather(tf.constant([list(fields)]), tf.zeros([tf.shape(values)[0]], tf.int32))
    pairs = tf.reshape(tf.stack([names, values], axis=-1), [-1, 2])
    keys = tf.reshape(_fingerprint(pairs), tf.shape(values))
    missing = _fingerprint(tf.constant([[name] for name in fields]))
    return tf.where(present, keys, missing[tf.newaxis, :])


def bucket_keys(fields: Sequence[str], buckets: tf.Tensor, num_buckets: int) -> tf.Tensor:
    """Keys of bucketized numeric features.

    Args:
      fields: N names.
      buckets: int64 [B, N], each in [0, num_buckets].
      num_buckets: The largest bucket's index; by convention the bucket of missing values.

    Returns:
      int64 [B, N].
    """
    texts = [[[name, "bucket", str(b)] for b in range(num_buckets + 1)] for name in fields]
    keys = tf.reshape(
        _fingerprint(tf.constant(texts, shape=[len(fields) * (num_buckets + 1), 3])), [-1]
    )
    offsets = tf.range(len(fields), dtype=tf.int64) * (num_buckets + 1)
    return tf.gather(keys, buckets + offsets[tf.newaxis, :])


def joint_keys(keys: tf.Tensor) -> tf.Tensor:
    """One key for what the keys of several fields say together.

    Args:
      keys: int64 [B, F], F >= 1.

    Returns:
      int64 [B].
    """
    return _fingerprint(keys)


def _fingerprint(rows: tf.Tensor) -> tf.Tensor:
    """FarmHash fingerprints of the rows of a string or int64 [R, n]: int64 [R]."""
    return tf.bitcast(tf.fingerprint(rows), tf.int64)
