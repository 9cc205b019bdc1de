"""Which columns of the key matrix share a table, and how what the tables give is put together."""

from __future__ import annotations

from collections.abc import Sequence

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
