"""Quantile buckets of numeric features.

Boundaries are fitted once, on the training days of a cold start, and then frozen in the transform
graph: bucket 7 must mean tomorrow what its embedding learned today.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.analyzers import QuantilesCombiner
from tfx_bsl.sketches import QuantilesSketch

_FINER = 8
"""Quantiles of what is left of a column without its frequent values, by bucket."""


def quantile_boundaries(
    values: tf.Tensor, present: tf.Tensor, num_buckets: int, name: str
) -> tf.Tensor:
    """Boundaries of the quantile buckets of each column's present values, as a fitted constant.

    See `QuantileBoundaries` for which they are.

    Args:
      values: float32 [B, N]; anything where `present` is false.
      present: bool [B, N].
      num_buckets: Buckets for present values; fewer come into use where fewer values differ.
      name: Names the fitted boundaries in the graph.

    Returns:
      float32 [N, num_buckets - 1], ascending; infinite for buckets that are not used.
    """
    columns = values.shape[1]
    # Chosen in Beam, not by ops: those would be in the graph of whatever serves it.
    (boundaries,) = tft.experimental.ptransform_analyzer(
        [tf.where(present, values, math.nan)],
        QuantileBoundaries(columns, num_buckets),
        [tf.float32],
        [[columns, num_buckets - 1]],
        name=name,
    )
    return boundaries


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


class QuantileBoundaries(beam.PTransform):
    """Boundaries of each column's quantile buckets, from batches float32 [B, N], NaN where missing.

    Where no value is two quantiles at once, they are the quantiles. A value that is, such as the 0
    of a column that is mostly 0, would have several of the boundaries to itself. Such a frequent
    value has one bucket, and the other values share those that are left: the quantiles of these
    others, which a second pass over the batches finds, are their boundaries. Between a frequent
    value and the next boundary lies at most an eighth of a bucket of the others.

    Its input's elements are tuples of one batch, as tf.Transform gives them to an analyzer; its
    output's only element is float32 [N, num_buckets - 1].

    Args:
      columns: N.
      num_buckets: Buckets of each column.
    """

    def __init__(self, columns: int, num_buckets: int):
        super().__init__()
        self._columns = columns
        self._num_buckets = num_buckets

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Finds quantiles, then those of the others, then chooses among both."""
        quantiles = batches | "Quantiles" >> beam.CombineGlobally(
            _ColumnQuantiles(self._columns, self._num_buckets)
        )
        others = (
            batches
            | "Others" >> beam.FlatMap(_others, beam.pvalue.AsSingleton(quantiles))
            | "QuantilesOfOthers"
            >> beam.CombineGlobally(_ColumnQuantiles(self._columns, _FINER * self._num_buckets))
        )
        return quantiles | "Choose" >> beam.Map(_chosen, beam.pvalue.AsSingleton(others))


class _ColumnQuantiles(beam.CombineFn):
    """Quantiles of each column, float32 [N, num_buckets - 1]; zeros where a column has no values.

    A sketch a column: one of several columns leaves out of its quantiles those without values.
    """

    def __init__(self, columns: int, num_buckets: int):
        self._columns = columns
        self._of_one = QuantilesCombiner(
            num_buckets, 0.1 / num_buckets, np.float32, output_shape=[num_buckets - 1]
        )

    def create_accumulator(self) -> list[QuantilesSketch]:
        return [self._of_one.create_accumulator() for _ in range(self._columns)]

    def add_input(
        self, sketches: list[QuantilesSketch], batch: tuple[np.ndarray]
    ) -> list[QuantilesSketch]:
        # Of NaN the sketch takes no notice.
        for sketch, column in zip(sketches, batch[0].T, strict=True):
            self._of_one.add_input(sketch, [column])
        return sketches

    def merge_accumulators(self, parts: Iterable[list[QuantilesSketch]]) -> list[QuantilesSketch]:
        return [self._of_one.merge_accumulators(column) for column in zip(*parts, strict=True)]

    def compact(self, sketches: list[QuantilesSketch]) -> list[QuantilesSketch]:
        return [self._of_one.compact(sketch) for sketch in sketches]

    def extract_output(self, sketches: list[QuantilesSketch]) -> np.ndarray:
        return np.stack([self._of_one.extract_output(sketch)[0] for sketch in sketches])


def _others(batch: tuple[np.ndarray], quantiles: np.ndarray) -> Iterator[tuple[np.ndarray]]:
    """The batch without frequent values, and without columns that have none; NaN is in their place.

    Nothing where no column has one.
    """
    others = np.full_like(batch[0], np.nan)
    frequent = [_frequent(column) for column in quantiles]
    for i, values in enumerate(frequent):
        if values.size:
            column = batch[0][:, i]
            others[:, i] = np.where(np.isin(column, values), np.nan, column)
    if any(values.size for values in frequent):
        yield (others,)


def _frequent(quantiles: np.ndarray) -> np.ndarray:
    """float32 [H], ascending, possibly repeated: the values that are several quantiles."""
    return quantiles[1:][quantiles[1:] == quantiles[:-1]]


def _chosen(quantiles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Boundaries of each column, float32 [N, Q - 1].

    Args:
      quantiles: float32 [N, Q - 1], of all of a column's values.
      others: float32 [N, M], of those that are not frequent.
    """
    boundaries = quantiles.copy()
    for column, rest in zip(boundaries, others, strict=True):
        frequent = _frequent(column)
        if frequent.size:
            column[:] = _with_frequent(frequent, rest, len(column))
    return boundaries


def _with_frequent(frequent: np.ndarray, others: np.ndarray, number: int) -> np.ndarray:
    """Chooses boundaries so that frequent values are apart, and the others in equal parts.

    Args:
      frequent: float32 [H], ascending, possibly repeated.
      others: float32 [M], quantiles of all other values, ascending, possibly repeated.
      number: Boundaries to choose, at least two for each frequent value.

    Returns:
      float32 [number], ascending, then infinite.
    """
    levels = np.unique(np.concatenate([frequent, others]))
    is_frequent = np.isin(levels, frequent)
    # A frequent value is bounded from below by itself, and from above by the next one seen.
    bounds_one = is_frequent | np.concatenate([[False], is_frequent[:-1]])
    # Below the least there is nothing to part it from.
    is_used = np.concatenate([~is_frequent[:1], np.ones_like(is_frequent[1:])])
    needed, rest = levels[bounds_one & is_used], levels[~bounds_one & is_used]
    room, count = number - len(needed), len(rest)
    # One at the end of each of `room + 1` equal parts but the last; where they are fewer, all.
    part = np.arange(count + 1) * (room + 1) // (count + 1)
    filling = rest[(part[1:] > part[:-1]) | (count <= room)]
    chosen = np.full(number, np.inf, np.float32)
    chosen[: len(needed) + len(filling)] = np.sort(np.concatenate([needed, filling]))
    return chosen
