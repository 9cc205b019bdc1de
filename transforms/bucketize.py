"""Quantile buckets of numeric features.

Boundaries are fitted once, on the training days of a cold start, and then frozen in the transform
graph: bucket 7 must mean tomorrow what its embedding learned today.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_transform as tft

_FINER = 8
"""Quantiles of what is left of a column without its frequent values, by bucket."""


def quantile_boundaries(
    values: tf.Tensor, present: tf.Tensor, num_buckets: int, name: str
) -> tf.Tensor:
    """Boundaries of the quantile buckets of a column's present values.

    Where no value is two quantiles at once, they are the quantiles. A value that is, such as the 0
    of a column that is mostly 0, would have several of the boundaries to itself. Such a frequent
    value has one bucket, and the other values share those that are left: the quantiles of these
    others, which a second pass over the data finds, are their boundaries. Between a frequent value
    and the next boundary lies at most an eighth of a bucket of the others.

    Args:
      values: float32 [B]; anything where `present` is false.
      present: bool [B].
      num_buckets: Buckets for present values; fewer come into use where fewer values differ.
      name: Names the fitted boundaries in the graph.

    Returns:
      float32 [1, num_buckets - 1], ascending; infinite for buckets that are not used.
    """
    values = tf.boolean_mask(values, present)
    quantiles = _quantiles(values, num_buckets, name)
    frequent = tf.boolean_mask(quantiles[1:], tf.equal(quantiles[1:], quantiles[:-1]))
    is_other = ~_is_among(values, frequent)
    # Columns without frequent values leave nothing for the second pass to sort.
    others = tf.boolean_mask(values, is_other & (tf.size(frequent) > 0))
    others = _quantiles(others, _FINER * num_buckets, f"{name}_others")
    chosen = _with_frequent(frequent, others, num_buckets - 1)
    return tf.where(tf.size(frequent) > 0, chosen, quantiles)[tf.newaxis]


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
    # Not transposed: for the few rows of a request that takes longer than the search itself.
    columns = tf.stack(tf.unstack(values, axis=1))
    buckets = tf.unstack(tf.searchsorted(boundaries, columns, "right", tf.int64), values.shape[1])
    return tf.where(present, tf.stack(buckets, axis=1), tf.cast(number, tf.int64))


def _quantiles(values: tf.Tensor, num_buckets: int, name: str) -> tf.Tensor:
    """float32 [num_buckets - 1], ascending; zeros where there are no values."""
    return tft.quantiles(values, num_buckets, epsilon=0.1 / num_buckets, name=name)[0]


def _with_frequent(frequent: tf.Tensor, others: tf.Tensor, number: int) -> tf.Tensor:
    """Chooses boundaries so that frequent values are apart, and the others in equal parts.

    Args:
      frequent: float32 [H], ascending, possibly repeated.
      others: float32 [M], quantiles of all other values, ascending, possibly repeated.
      number: Boundaries to choose, at least two for each frequent value.

    Returns:
      float32 [number], ascending, then infinite.
    """
    levels, _ = tf.unique(tf.sort(tf.concat([frequent, others], axis=0)))
    is_frequent = _is_among(levels, frequent)
    # A frequent value is bounded from below by itself, and from above by the next one seen.
    bounds_one = is_frequent | tf.concat([[False], is_frequent[:-1]], axis=0)
    # Below the least there is nothing to part it from.
    is_used = tf.concat([~is_frequent[:1], tf.ones_like(is_frequent[1:])], axis=0)
    needed = tf.boolean_mask(levels, bounds_one & is_used)
    rest = tf.boolean_mask(levels, ~bounds_one & is_used)
    room, count = number - tf.size(needed), tf.size(rest)
    # One at the end of each of `room + 1` equal parts but the last; where they are fewer, all.
    part = tf.range(count + 1) * (room + 1) // (count + 1)
    filling = tf.boolean_mask(rest, (part[1:] > part[:-1]) | (count <= room))
    chosen = tf.sort(tf.concat([needed, filling], axis=0))
    padding = tf.fill([number - tf.size(chosen)], math.inf)
    return tf.ensure_shape(tf.concat([chosen, padding], axis=0), [number])


def _is_among(values: tf.Tensor, ascending: tf.Tensor) -> tf.Tensor:
    """Bool [B]: which of the values float32 [B] are in float32 [H]."""
    above = tf.searchsorted(ascending, values, "right")
    return above > tf.searchsorted(ascending, values, "left")
