"""Numeric features: quantile buckets, and log-scaled z-scores with a presence mask.

Both forms are fitted once, on the training days of a cold start, and then frozen
in the transform graph: bucket 7 must mean tomorrow what its embedding learned
today.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft


def quantile_bucket(
    values: tf.Tensor, present: tf.Tensor, num_buckets: int, name: str
) -> tf.Tensor:
    """Index of the quantile bucket; missing values have the bucket `num_buckets`.

    Args:
      values: float32 [B]; anything where `present` is false.
      present: bool [B].
      num_buckets: Buckets for present values; fewer come into use when values repeat.
      name: Names the fitted boundaries in the graph.

    Returns:
      int64 [B] in [0, num_buckets].
    """
    boundaries = tft.quantiles(
        tf.boolean_mask(values, present), num_buckets, epsilon=0.1 / num_buckets, name=name
    )
    bucket = tf.cast(tft.apply_buckets(values, boundaries), tf.int64)
    return tf.where(present, bucket, tf.constant(num_buckets, tf.int64))


def log_z_score(values: tf.Tensor, present: tf.Tensor, name: str) -> tf.Tensor:
    """z-score of sign(x) log(1 + |x|) over the present values; 0 where missing.

    The 0 is the mean, and the presence mask that goes in beside it tells the model
    which zeros were measured.

    Args:
      values: float32 [B].
      present: bool [B].
      name: Names the fitted mean and variance in the graph.

    Returns:
      float32 [B].
    """
    scaled = tf.sign(values) * tf.math.log1p(tf.abs(values))
    observed = tf.boolean_mask(scaled, present)
    mean, variance = tft.mean(observed, name=f"{name}_mean"), tft.var(observed, name=f"{name}_var")
    z_score = tf.math.divide_no_nan(scaled - mean, tf.sqrt(variance))
    return tf.where(present, z_score, tf.zeros_like(z_score))
