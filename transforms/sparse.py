"""Features as they are parsed from examples: sparse, with at most one value a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def only_values(
    features: Mapping[str, tf.SparseTensor], default: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """The value of each row, and whether there is one.

    All features together take as few ops as one: served models score few rows at a time, and then
    an op costs more than what it computes.

    Args:
      features: F features of one type by name, [B, <= 1] each.
      default: In place of a value that is not there.

    Returns:
      The values, [B, F], and bool [B, F].

    Raises:
      tf.errors.InvalidArgumentError: when it runs, naming a feature with several values in a row.
    """
    names, parsed = list(features), list(features.values())
    number = len(parsed)
    rows = parsed[0].dense_shape[0]
    lengths = tf.raw_ops.ShapeN(input=[feature.values for feature in parsed], out_type=tf.int64)
    column = tf.repeat(tf.range(number, dtype=tf.int64), tf.concat(lengths, axis=0))
    row, place = tf.unstack(tf.concat([feature.indices for feature in parsed], axis=0), axis=1)
    second = tf.where(place > 0)[:1, 0]
    message = "a row of an example should have at most one value of a feature; it has more of"
    is_one = tf.debugging.Assert(
        tf.equal(tf.size(second), 0), [message, tf.gather(names, tf.gather(column, second))]
    )
    with tf.control_dependencies([is_one]):
        positions = row * number + column
    values = tf.concat([feature.values for feature in parsed], axis=0)

    def dense(found: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        flat = tf.raw_ops.SparseToDense(
            sparse_indices=positions,
            output_shape=[rows * number],
            sparse_values=found,
            default_value=default,
            validate_indices=False,
        )
        return tf.reshape(flat, [-1, number])

    default = tf.constant(default, parsed[0].dtype)
    return dense(values, default), dense(tf.ones_like(positions, tf.bool), tf.constant(False))
