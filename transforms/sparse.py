"""Features as they are parsed from examples: sparse, with at most one value that counts a row."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def first_values(feature: tf.SparseTensor, default: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """First value of each row, and whether there is one: ([B], bool [B])."""
    # A batch in which every row lacks the feature has a second dimension of 0.
    shape = tf.stack([feature.dense_shape[0], tf.maximum(feature.dense_shape[1], 1)])
    widened = tf.SparseTensor(feature.indices, feature.values, shape)
    default = tf.constant(default, feature.dtype)
    present = tf.SparseTensor(feature.indices, tf.ones_like(feature.values, tf.bool), shape)
    return (
        tf.sparse.to_dense(widened, default)[:, 0],
        tf.sparse.to_dense(present, False)[:, 0],
    )
