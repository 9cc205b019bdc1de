"""A Keras layer that embeds a matrix of keys."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.embeddings.columns import Columns, HistoryColumns
from keras_models.embeddings.config import DynamicEmbeddingConfig
from keras_models.embeddings.dynamic_table import DynamicTable, TableLookup
from keras_models.embeddings.reading import Embedded, read_tables
from keras_models.embeddings.sync_state import SyncState

EmbeddingLookup = tuple[TableLookup, ...]
"""What a training step read, by table; for `DynamicEmbedding.apply_gradients`."""


class DynamicEmbedding(keras.layers.Layer):
    """Embeds a [batch, fields] matrix of int64 keys that come and go, and histories beside it.

    Called, it reads and changes nothing. A training step reads through `train_lookup`, which also
    counts, admits and evicts, and hands the gradient back through `apply_gradients`: rows have an
    optimizer of their own, which touches the rows of the step and no others.

    Example:
        embedding = DynamicEmbedding(DynamicEmbeddingConfig(fields=("user", "item"), dim=16))
        embedded, lookup = embedding.train_lookup(keys)  # [B, 2] -> fields [B, 32]
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            loss = loss_of(embedded)
        embedding.apply_gradients(lookup, tape.gradient(loss, embedded))

    Histories, [B, T, C], are further keys that read the rows of their fields and let them learn;
    no count, score or row changes by them. A key 0 in a history says that there is no behaviour.

    Args:
      config: Fields, widths, capacity, policy and optimizer.
      seed: Seeds the initial rows.

    Attributes:
      columns: Which columns of the key matrix share a table.
      history: Likewise of the history keys.
      tables: One per width, in the order of `columns.by_dim`.
    """

    def __init__(self, config: DynamicEmbeddingConfig, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        self.columns = Columns(config.field_dims)
        self.history = HistoryColumns(config.history_fields, config.history_dims)
        self.tables = [
            DynamicTable(
                dim=dim,
                capacity=config.capacities.get(dim, config.capacity),
                fields=[config.fields[column] for column in columns],
                history_fields=self.history.fields_of(dim),
                policy=config.policy,
                optimizer=config.optimizer,
                seed=seed,
                name=f"table_{dim}",
            )
            for dim, columns in self.columns.by_dim.items()
        ]

    def call(self, keys: tf.Tensor, history_keys: tf.Tensor | None = None) -> Embedded:
        """Reads rows and changes nothing.

        Args:
          keys: int64 [B, F].
          history_keys: int64 [B, T, C].

        Returns:
          The rows.
        """
        return read_tables(self.tables, self.columns, self.history, keys, history_keys)

    def train_lookup(
        self,
        keys: tf.Tensor,
        weight: tf.Tensor | None = None,
        day: tf.Tensor | None = None,
        history_keys: tf.Tensor | None = None,
    ) -> tuple[Embedded, EmbeddingLookup]:
        """Counts, admits and evicts, then reads rows.

        Args:
          keys: int64 [B, F]; in a replica of `tf.distribute`, its own examples.
          weight: float32 [B], what an occurrence in each example counts; 1 by default.
          day: int64 [B], the day of each example; the newest is the tables' today.
          history_keys: int64 [B, T, C], read after that.

        Returns:
          The rows, and what `apply_gradients` needs.
        """
        parts = self.columns.split_keys(keys)
        behaviours = {} if history_keys is None else self.history.split_keys(history_keys)
        lookups = tuple(
            table.train_lookup(part, weight, day, behaviours.get(table.dim))
            for table, part in zip(self.tables, parts, strict=True)
        )
        embedded = [
            tf.reshape(tf.gather(lookup.rows, lookup.index), [-1, len(table.fields), table.dim])
            for table, lookup in zip(self.tables, lookups, strict=True)
        ]
        fields = self.columns.join(embedded)
        if history_keys is None:
            return Embedded(fields), lookups
        read = {
            table.dim: tf.gather(lookup.rows, lookup.history)
            for table, lookup in zip(self.tables, lookups, strict=True)
            if lookup.history is not None
        }
        return Embedded(fields, self.history.join(read, history_keys.shape[1])), lookups

    def apply_gradients(self, lookup: EmbeddingLookup, gradients: Embedded) -> None:
        """One step of the optimizer on the rows that the step read.

        Args:
          lookup: From `train_lookup`, in the same step.
          gradients: Of the shapes that were read. A row learns from the sum over the places that
            read it, over all replicas.
        """
        parts = self.columns.split_gradients(gradients.fields)
        behaviours = {}
        if gradients.history is not None:
            behaviours = self.history.split_gradients(gradients.history)
        for table, read, part in zip(self.tables, lookup, parts, strict=True):
            index = read.index
            if table.dim in behaviours:
                part = tf.concat([part, behaviours[table.dim]], axis=0)
                index = tf.concat([index, read.history], axis=0)
            table.apply_gradients(
                read, tf.math.unsorted_segment_sum(part, index, tf.size(read.slots))
            )

    def statistics(self) -> dict[str, int]:
        """Counts since the layer was made, over its tables; see `DynamicTable.statistics`.

        Returns:
          Their sums, and the sum of their capacities as `capacity`.
        """
        counts = [table.statistics() for table in self.tables]
        sums = {name: sum(count[name] for count in counts) for name in counts[0]}
        return {"capacity": sum(table.capacity for table in self.tables), **sums}

    def sync_states(self) -> list[SyncState]:
        """What delta sync has to know of the rows that are served, by table."""
        return [table.sync_state(self.config.serving_min_score) for table in self.tables]

    def hits_by_field(self) -> dict[str, int]:
        """Keys, by field, that read a row of their own while training, since it was made."""
        hits = {name: n for table in self.tables for name, n in table.hits_by_field().items()}
        return {name: hits[name] for name in self.config.fields}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "config": self.config, "seed": self.seed}
