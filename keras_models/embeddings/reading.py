"""Reading the rows of keys and of histories, from tables that learn or from exported ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import tensorflow as tf

from keras_models.embeddings.columns import Columns, HistoryColumns


class Embedded(NamedTuple):
    """Embedded keys, or gradients of them.

    Args:
      fields: float32 [B, sum of the fields' widths], fields in order.
      history: float32 [B, T, sum of the history columns' widths], columns in order; zeros where
        there is no behaviour. None without histories.
    """

    fields: tf.Tensor
    history: tf.Tensor | None = None


class ReadsRows(Protocol):
    """A table of rows of one width."""

    dim: int

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        """Rows float32 [B, F, D] of keys int64 [B, F]."""

    def lookup_history(self, keys: tf.Tensor) -> tf.Tensor:
        """Rows float32 [n, C, D] of history keys int64 [n, C]."""


def read_tables(
    tables: Sequence[ReadsRows],
    columns: Columns,
    history: HistoryColumns,
    keys: tf.Tensor,
    history_keys: tf.Tensor | None,
) -> Embedded:
    """Reads rows.

    Args:
      tables: One per width, in the order of `columns.by_dim`.
      columns: Which columns of the key matrix share a table.
      history: Likewise of the history keys.
      keys: int64 [B, F].
      history_keys: int64 [B, T, C], or None.
    """
    parts = columns.split_keys(keys)
    fields = columns.join([table.lookup(part) for table, part in zip(tables, parts, strict=True)])
    if history_keys is None:
        return Embedded(fields)
    return Embedded(fields, read_history(tables, history, history_keys))


def read_history(
    tables: Sequence[ReadsRows], history: HistoryColumns, history_keys: tf.Tensor
) -> tf.Tensor:
    """Reads the rows of behaviours: float32 [B, T, sum D] of int64 [B, T, C]."""
    behaviours = history.split_keys(history_keys)
    read = {
        table.dim: table.lookup_history(behaviours[table.dim])
        for table in tables
        if table.dim in behaviours
    }
    return history.join(read, history_keys.shape[1])
