"""The serving form of dynamic tables."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_models.embeddings.dynamic_embedding import DynamicEmbedding
from keras_models.embeddings.dynamic_table import DynamicTable
from keras_models.embeddings.reading import Embedded, read_history, read_tables
from keras_models.embeddings.stored_rows import RowFormat, StoredRows
from keras_models.embeddings.variables import gather


class ExportedTable(tf.Module):
    """A frozen table: keys and rows as variables, found through a `StaticHashTable`.

    Keys and rows are variables and never constants, so a SavedModel keeps them in its variables
    file (a graph is limited to 2 GB) and they are in memory once. Stock ops only: it loads in
    `tf.saved_model.load`, in a TF1 Session and in TensorFlow Serving. The graph does not know how
    many keys there are, so that a delta can bring more: the variables' lengths are open, and the
    fields' shared rows come first.

    Args:
      table: The trained table; its live keys and rows and its shared rows are copied.
      min_score: Rows of a lower score (decayed, weighted occurrences) are left out; their keys
        then read the shared row.
      row_format: How rows are kept.
    """

    def __init__(
        self,
        table: DynamicTable,
        min_score: float = 0.0,
        row_format: RowFormat = "float32",
        name: str | None = None,
    ):
        super().__init__(name=name)
        live = table.live_slots(min_score)
        keys = tf.gather(tf.reshape(table.keys, [-1]), live)
        rows = gather(table.records, live)[:, : table.dim]
        self.dim = table.dim
        self.num_fields = len(table.fields)
        self._history = [table.fields.index(name) for name in table.history_fields]
        self.num_keys = int(tf.size(keys))
        # A lookup table cannot be filled with nothing: without keys, 0 is found to be unknown.
        self.keys = tf.Variable(
            keys if self.num_keys else tf.zeros([1], tf.int64),
            trainable=False,
            shape=[None],
            name="keys",
        )
        self.rows = StoredRows(tf.concat([table.shared_rows(), rows], axis=0), row_format)
        self._place_of = tf.lookup.StaticHashTable(
            _Places(self.keys, self.rows, self.num_fields), default_value=-1
        )

    def lookup(self, keys: tf.Tensor, fields: Sequence[int] | None = None) -> tf.Tensor:
        """Reads rows.

        Args:
          keys: int64 [B, F].
          fields: Which of the table's fields the keys are of. Defaults to all, in order.

        Returns:
          float32 [B, F, D]; the field's shared row where a key is unknown.
        """
        columns = range(self.num_fields) if fields is None else fields
        return self.rows.gather(self._places(keys, columns))

    def lookup_history(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads rows of behaviours.

        Args:
          keys: int64 [n, C]; 0 where there is no behaviour.

        Returns:
          float32 [n, C, D]; the field's shared row where a key is unknown, zeros where there is no
          behaviour.
        """
        rows = self.rows.gather(self._places(keys, self._history))
        return tf.where(tf.equal(keys, 0)[..., tf.newaxis], tf.zeros_like(rows), rows)

    def _places(self, keys: tf.Tensor, fields: Sequence[int]) -> tf.Tensor:
        """Where the rows are: int64 of the keys' shape, [n, len(fields)]."""
        places = self._place_of.lookup(keys)
        return tf.where(places >= 0, places, tf.constant(list(fields), tf.int64))


class ExportedEmbedding(tf.Module):
    """The frozen form of a `DynamicEmbedding`.

    Args:
      embedding: The trained layer; what it serves is copied, by its `serving_min_score`.
      row_format: How rows are kept.
    """

    def __init__(
        self,
        embedding: DynamicEmbedding,
        row_format: RowFormat = "float32",
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._columns = embedding.columns
        self._history = embedding.history
        self.tables = [
            ExportedTable(table, embedding.config.serving_min_score, row_format)
            for table in embedding.tables
        ]

    def __call__(self, keys: tf.Tensor, history_keys: tf.Tensor | None = None) -> Embedded:
        """Reads rows.

        Args:
          keys: int64 [B, F].
          history_keys: int64 [B, T, C].

        Returns:
          The rows.
        """
        return read_tables(self.tables, self._columns, self._history, keys, history_keys)

    def read_fields(self, keys: tf.Tensor, fields: Sequence[int]) -> list[tf.Tensor]:
        """Reads the rows of some fields.

        Args:
          keys: int64 [B, F], of all fields.
          fields: Positions of those to read.

        Returns:
          float32 [B, D_f] each.
        """
        found: dict[int, tf.Tensor] = {}
        for table, columns in zip(self.tables, self._columns.by_dim.values(), strict=True):
            wanted = [column for column in fields if column in columns]
            if wanted:
                places = [columns.index(column) for column in wanted]
                rows = table.lookup(tf.gather(keys, wanted, axis=1), places)
                found |= zip(wanted, tf.unstack(rows, axis=1), strict=True)
        return [found[column] for column in fields]

    def read_history(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads the rows of behaviours: float32 [B, T, sum D] of int64 [B, T, C]."""
        return read_history(self.tables, self._history, keys)


class _Places(tf.lookup.KeyValueTensorInitializer):
    """Maps keys to the places of their rows, after the shared ones, when a model is loaded."""

    def __init__(self, keys: tf.Variable, rows: StoredRows, num_shared: int):
        # The base class would keep what it is given as constants, so it is given nothing.
        super().__init__(tf.zeros([0], keys.dtype), tf.zeros([0], tf.int64))
        self._keys = keys
        self._rows = rows
        self._num_shared = num_shared

    def initialize(self, table: tf.lookup.StaticHashTable) -> tf.Operation:
        keys = self._keys.read_value()
        places = self._num_shared + tf.range(tf.size(keys, tf.int64))
        # The one key of a table that has none has no row either.
        places = tf.where(places < self._rows.count(), places, -1)
        return tf.raw_ops.InitializeTableV2(
            table_handle=table.resource_handle, keys=keys, values=places
        )
