"""Training losses."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def weighted_bce(labels: tf.Tensor, logits: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """Weighted sum over tasks of the mean binary cross-entropy.

        L = sum_k w_k * mean_b( max(z, 0) - z y + log(1 + exp(-|z|)) )

    Args:
      labels: float32 [B, K], 0 or 1.
      logits: float32 [B, K].
      weights: w, one a task.

    Returns:
      float32 scalar.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(tf.reduce_mean(losses, axis=0) * tf.constant(weights, tf.float32))
