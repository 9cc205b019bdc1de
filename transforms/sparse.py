"""Features as they are parsed from examples: sparse, with at most one value that counts a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def first_values(features: Sequence[tf.SparseTensor], default: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """First value of each row, and whether there is one.

    All features together take as few ops as one: served models score few rows at a time, and then
    an op costs more than what it computes.

    Args:
      features: F features of one type, [B, any number] each.
      default: In place of a value that is not there.

    Returns:
      The values, [B, F], and bool [B, F].
    """
    number = len(features)
    rows = features[0].dense_shape[0]
    lengths = tf.raw_ops.ShapeN(input=[feature.values for feature in features], out_type=tf.int64)
    column = tf.repeat(tf.range(number, dtype=tf.int64), tf.concat(lengths, axis=0))
    row, place = tf.unstack(tf.concat([feature.indices for feature in features], axis=0), axis=1)
    is_first = tf.where(tf.equal(place, 0))[:, 0]
    values = tf.gather(tf.concat([feature.values for feature in features], axis=0), is_first)
    positions = tf.gather(row * number + column, is_first)

    def dense(found: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        flat = tf.raw_ops.SparseToDense(
            sparse_indices=positions,
            output_shape=[rows * number],
            sparse_values=found,
            default_value=default,
            validate_indices=False,
        )
        return tf.reshape(flat, [-1, number])

    default = tf.constant(default, features[0].dtype)
    return dense(values, default), dense(tf.ones_like(positions, tf.bool), tf.constant(False))
