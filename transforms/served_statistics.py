"""Past-days statistics inside a SavedModel: tables as of the end of the last day."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import tensorflow as tf

from transforms.feature_state import FeatureState, read_shard
from transforms.keys import categorical_keys, joint_keys
from transforms.sparse import only_values
from transforms.statistics import Statistic


class ServedStatistics(tf.Module):
    """Computes the statistics of requests, which carry raw columns only.

    A value that an example carries itself is left as it is: examples of past days hold what was so
    on theirs. Keys and values are variables, in the SavedModel's variables file, and found by
    binary search: no lookup table has to be filled when the model is loaded.

    Args:
      state: The feature state; all of its sums are held in memory.
    """

    def __init__(self, state: FeatureState):
        super().__init__()
        self.by = {name: s.by for s in state.statistics for name in s.features}
        self._tables = [
            _Table(statistic, state.shards(statistic), totals)
            for statistic, totals in zip(state.statistics, state.totals, strict=True)
        ]

    @property
    def columns(self) -> list[str]:
        """The columns that they are of, each once, however many statistics are by it."""
        return list(dict.fromkeys(c for table in self._tables for c in table.statistic.by))

    def look_up(self, texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        """Computes the statistics.

        Args:
          texts: string [B, C], of `columns`.
          has_text: bool [B, C]; where it is false the text is missing.

        Returns:
          float32 [B, S], a column a feature of `by`.
        """
        columns = self.columns
        keys = categorical_keys(columns, texts, has_text)
        looked_up = [
            table(tf.gather(keys, [columns.index(c) for c in table.statistic.by], axis=1))
            for table in self._tables
        ]
        return tf.concat(looked_up, axis=1)

    def __call__(self, features: Mapping[str, tf.SparseTensor]) -> dict[str, tf.SparseTensor]:
        """Adds the statistics to parsed features.

        Args:
          features: The columns that they are of, string, and the statistics where the examples
            have them, float32, each [B, <= 1].

        Returns:
          The same, and every statistic, float32 [B, 1].
        """
        if not self._tables:
            return dict(features)
        looked_up = self.look_up(*only_values({c: features[c] for c in self.columns}, ""))
        values, _ = only_values({name: features[name] for name in self.by}, math.nan)
        values = tf.where(tf.math.is_nan(values), looked_up, values)
        every_row = tf.stack([tf.range(tf.shape(values, tf.int64)[0])] * 2, axis=1) * [[1, 0]]
        shape = tf.stack([tf.shape(values, tf.int64)[0], 1])
        return {
            **features,
            **{
                name: tf.SparseTensor(every_row, column, shape)
                for name, column in zip(self.by, tf.unstack(values, axis=1), strict=True)
            },
        }


class _Table(tf.Module):
    """Values of one statistic by key, and those of a key that no row had."""

    def __init__(self, statistic: Statistic, shards: list[str], totals: np.ndarray):
        super().__init__()
        self.statistic = statistic
        sums = pa.concat_tables([read_shard(path) for path in shards]).sort_by("key")
        key, *columns = (column.to_numpy() for column in sums.columns)
        # A last entry under the largest key, for all that is not found.
        rows = np.stack([np.append(column, 0.0) for column in columns], axis=1)
        self._keys = tf.Variable(
            np.append(key, np.iinfo(np.int64).max), trainable=False, name="keys"
        )
        self._values = tf.Variable(statistic.values(rows, totals), trainable=False, name="values")
        self._unknown = len(key)

    def __call__(self, column_keys: tf.Tensor) -> tf.Tensor:
        """Values of the rows, float32 [B, 1 + T], by the keys of their columns, int64 [B, n]."""
        keys = joint_keys(column_keys)
        places = tf.searchsorted(self._keys, keys)
        found = tf.equal(tf.gather(self._keys, places), keys)
        return tf.gather(self._values, tf.where(found, places, self._unknown))
