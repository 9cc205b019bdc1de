"""Log-scaled z-scores of numeric features.

The moments are fitted once, on the training days of a cold start, and then frozen in the transform
graph, as the quantile buckets are.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_transform as tft

_BITS = 30


def log_z_scores(values: tf.Tensor, present: tf.Tensor, name: str) -> tf.Tensor:
    """z-scores of sign(x) log(1 + |x|) over each column's present values; 0 where missing.

    The 0 is the mean, and the presence mask that goes in beside it tells the model which zeros were
    measured. A column that does not vary has no scale, and is 0 throughout.

    The moments do not depend on the order in which Beam adds them up. A first pass finds each
    column's range, a second one sums the places x of its values there and their squares, as whole
    numbers of 30 and of 60 bits: such sums are exact for up to 2^32 rows. So the standard deviation
    is right to within 2^-31 of the range, whatever the scale of the column.

    Args:
      values: float32 [B, N]; anything where `present` is false.
      present: bool [B, N].
      name: Names the fitted sums in the graph.

    Returns:
      float32 [B, N].
    """
    # In float64, in which also numbers as close together as float32 allows have different logs.
    values = tf.cast(values, tf.float64)
    scaled = tf.sign(values) * tf.math.log1p(tf.abs(values))
    extremes = tf.where(present[:, tf.newaxis], tf.stack([-scaled, scaled], axis=1), -math.inf)
    negated_low, high = tf.unstack(
        tft.max(extremes, reduce_instance_dims=False, name=f"{name}_range")
    )
    low, width = -negated_low, high + negated_low

    places = tf.round(tf.clip_by_value((scaled - low) / width, 0.0, 1.0) * 2.0**_BITS)
    places = tf.cast(tf.where(present & (width > 0.0), places, 0.0), tf.int64)
    squares = places * places
    # In two parts, neither of which may leave the range of an int64 when it is summed.
    high_bits = tf.bitwise.right_shift(squares, tf.constant(_BITS, tf.int64))
    low_bits = squares - high_bits * 2**_BITS
    sums = tft.sum(
        tf.stack([tf.cast(present, tf.int64), places, high_bits, low_bits], axis=1),
        reduce_instance_dims=False,
        name=name,
    )
    count, first, high_bits, low_bits = tf.unstack(tf.cast(sums, tf.float64))
    first = tf.math.divide_no_nan(first, count) * 2.0**-_BITS
    second = tf.math.divide_no_nan(high_bits + low_bits * 2.0**-_BITS, count) * 2.0**-_BITS
    deviation = width * tf.sqrt(tf.maximum(second - first * first, 0.0))
    varies = present & (deviation > 0.0)
    z_scores = tf.where(varies, (scaled - (low + width * first)) / deviation, 0.0)
    return tf.cast(z_scores, tf.float32)
