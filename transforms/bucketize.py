"""Numeric features: quantile buckets, and log-scaled z-scores with a presence mask.

Both forms are fitted once, on the training days of a cold start, and then frozen
in the transform graph: bucket 7 must mean tomorrow what its embedding learned
today.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

_ROUNDING = 1e-10


def quantile_boundaries(
    values: tf.Tensor, present: tf.Tensor, num_buckets: int, name: str
) -> tf.Tensor:
    """Boundaries of the quantile buckets of a column's present values.

    Args:
      values: float32 [B]; anything where `present` is false.
      present: bool [B].
      num_buckets: Buckets for present values; fewer come into use when values repeat.
      name: Names the fitted boundaries in the graph.

    Returns:
      float32 [1, num_buckets - 1], ascending.
    """
    return tft.quantiles(
        tf.boolean_mask(values, present), num_buckets, epsilon=0.1 / num_buckets, name=name
    )


def quantile_buckets(values: tf.Tensor, present: tf.Tensor, boundaries: tf.Tensor) -> tf.Tensor:
    """Index of each value's quantile bucket; missing values have the last one and one more.

    A value at a boundary is in the bucket above it.

    Args:
      values: float32 [B, N]; anything where `present` is false.
      present: bool [B, N].
      boundaries: Of each column, float32 [N, Q - 1].

    Returns:
      int64 [B, N] in [0, Q].
    """
    number = tf.shape(boundaries)[1] + 1
    # Not transposed: for small float32 matrices oneDNN's transpose takes 80 to 400 us to set up.
    columns = tf.stack(tf.unstack(values, axis=1))
    buckets = tf.searchsorted(boundaries, columns, "right", tf.int64)
    return tf.where(present, tf.transpose(buckets), tf.cast(number, tf.int64))


def log_z_scores(values: tf.Tensor, present: tf.Tensor, name: str) -> tf.Tensor:
    """z-scores of sign(x) log(1 + |x|) over each column's present values; 0 where missing.

    The 0 is the mean, and the presence mask that goes in beside it tells the model
    which zeros were measured. All columns' moments come from one sum over the data,
    sum [m, m z, m z^2] with m the mask, in float64.

    Args:
      values: float32 [B, N]; anything where `present` is false.
      present: bool [B, N].
      name: Names the fitted sums in the graph.

    Returns:
      float32 [B, N].
    """
    scaled = tf.sign(values) * tf.math.log1p(tf.abs(values))
    mask = tf.cast(present, tf.float64)
    masked = mask * tf.cast(scaled, tf.float64)
    count, first, second = tf.unstack(
        tft.sum(
            tf.stack([mask, masked, masked * masked], axis=1), reduce_instance_dims=False, name=name
        )
    )
    mean = tf.math.divide_no_nan(first, count)
    variance = tf.math.divide_no_nan(second, count) - mean * mean
    # A column that does not vary has no scale; what rounding leaves of its variance is none.
    varies = variance > _ROUNDING * mean * mean
    scale = tf.where(varies, tf.math.rsqrt(variance), tf.zeros_like(variance))
    z_scores = (scaled - tf.cast(mean, tf.float32)) * tf.cast(scale, tf.float32)
    return tf.where(present, z_scores, tf.zeros_like(z_scores))
