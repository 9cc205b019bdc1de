"""Which columns of the key matrix share a table, and how what the tables give is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from keras_models.embeddings.arguments import require


class Columns:
    """The way from a key matrix to tables, and back.

    Args:
      field_dims: Width D_f of each of the F fields; fields of one width share a table.
    """

    def __init__(self, field_dims: Sequence[int]):
        self.field_dims = tuple(field_dims)
        by_dim: dict[int, list[int]] = {}
        for column, dim in enumerate(field_dims):
            by_dim.setdefault(dim, []).append(column)
        self.by_dim = by_dim

    def split_keys(self, keys: tf.Tensor) -> list[tf.Tensor]:
        """The keys of each table, [B, F_t], from the key matrix, [B, F]."""
        fields = len(self.field_dims)
        require("keys", keys.shape, keys.shape[1:] == [fields], f"[B, {fields}]")
        if len(self.by_dim) == 1:
            return [keys]
        return [tf.gather(keys, columns, axis=1) for columns in self.by_dim.values()]

    def join(self, embedded: Sequence[tf.Tensor]) -> tf.Tensor:
        """Rows of all fields in order, [B, sum D_f], from those of each table, [B, F_t, D_t]."""
        if len(embedded) == 1:
            return tf.reshape(embedded[0], [-1, sum(self.field_dims)])
        fields: list[tf.Tensor] = [None] * len(self.field_dims)
        for columns, rows in zip(self.by_dim.values(), embedded, strict=True):
            for column, field in zip(columns, tf.unstack(rows, axis=1), strict=True):
                fields[column] = field
        return tf.concat(fields, axis=1)

    def split_gradients(self, gradients: tf.Tensor) -> list[tf.Tensor]:
        """The inverse of `join`: [B * F_t, D_t] for each table, from [B, sum D_f]."""
        if len(self.by_dim) == 1:
            return [tf.reshape(gradients, [-1, self.field_dims[0]])]
        fields = tf.split(gradients, self.field_dims, axis=1)
        return [
            tf.reshape(tf.stack([fields[column] for column in columns], axis=1), [-1, dim])
            for dim, columns in self.by_dim.items()
        ]


class HistoryColumns:
    """The way from history keys to tables, and back.

    Args:
      fields: For each of the C columns the field whose rows it reads.
      dims: Widths of their rows.
    """

    def __init__(self, fields: Sequence[str], dims: Sequence[int]):
        self._fields = tuple(fields)
        self._columns = Columns(dims)

    def fields_of(self, dim: int) -> list[str]:
        """The fields of the columns that read rows of a width."""
        return [self._fields[column] for column in self._columns.by_dim.get(dim, [])]

    def split_keys(self, keys: tf.Tensor) -> dict[int, tf.Tensor]:
        """The keys of each table by its width, [B * T, C_t], from all of them, [B, T, C]."""
        columns = len(self._fields)
        is_known = keys.shape.rank == 3 and keys.shape[1] is not None and keys.shape[2] == columns
        require("history_keys", keys.shape, is_known, f"[B, T, {columns}] with a fixed T")
        require("history_keys", keys.shape, columns > 0, "absent without `history_fields`")
        parts = self._columns.split_keys(tf.reshape(keys, [-1, columns]))
        return dict(zip(self._columns.by_dim, parts, strict=True))

    def join(self, embedded: Mapping[int, tf.Tensor], steps: int) -> tf.Tensor:
        """Rows of all columns in order, [B, T, sum D], from those by width, of B * T * C_t rows."""
        rows = [
            tf.reshape(embedded[dim], [-1, len(columns), dim])
            for dim, columns in self._columns.by_dim.items()
        ]
        joined = self._columns.join(rows)
        return tf.reshape(joined, [-1, steps, sum(self._columns.field_dims)])

    def split_gradients(self, gradients: tf.Tensor) -> dict[int, tf.Tensor]:
        """The inverse of `join`: [B * T * C_t, D_t] by width, from [B, T, sum D]."""
        width = sum(self._columns.field_dims)
        parts = self._columns.split_gradients(tf.reshape(gradients, [-1, width]))
        return dict(zip(self._columns.by_dim, parts, strict=True))
