"""The serving form of a dynamic table."""

from __future__ import annotations

import tensorflow as tf

from keras_models.embeddings.dynamic_table import DynamicTable


class ExportedTable(tf.Module):
    """A frozen table: keys and rows as variables, found through a `StaticHashTable`.

    Keys and rows are variables and never constants, so a SavedModel keeps them in its variables
    file (a graph is limited to 2 GB) and they are in memory once. Stock ops only: it loads in
    `tf.saved_model.load`, in a TF1 Session and in TensorFlow Serving.

    Args:
      table: The trained table; its live keys and rows and its shared rows are copied.
    """

    def __init__(self, table: DynamicTable, name: str | None = None):
        super().__init__(name=name)
        live = table.live_slots()
        shared = table.rows[table.capacity :]
        keys = tf.gather(tf.reshape(table.keys, [-1]), live)
        slots = tf.range(tf.size(keys, tf.int64))
        self.num_fields = table.num_fields
        self.num_keys = int(tf.size(keys))
        if not self.num_keys:
            # A lookup table cannot be initialised with nothing: this key is found, to be unknown.
            keys, slots = tf.constant([0], tf.int64), tf.constant([-1], tf.int64)
        self.keys = tf.Variable(keys, trainable=False, name="keys")
        self.slots = tf.Variable(slots, trainable=False, name="slots")
        self.rows = tf.Variable(
            tf.concat([tf.gather(table.rows, live), shared], axis=0), trainable=False, name="rows"
        )
        self._slot_of = tf.lookup.StaticHashTable(
            _FromVariables(self.keys, self.slots), default_value=-1
        )

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads rows.

        Args:
          keys: int64 [B, F].

        Returns:
          float32 [B, F, D]; the field's shared row where a key is unknown.
        """
        slots = self._slot_of.lookup(keys)
        shared = self.num_keys + tf.range(self.num_fields, dtype=tf.int64)
        return tf.gather(self.rows, tf.where(slots >= 0, slots, shared))


class _FromVariables(tf.lookup.KeyValueTensorInitializer):
    """Fills a lookup table from two variables when the model that holds them is loaded."""

    def __init__(self, keys: tf.Variable, values: tf.Variable):
        # The base class would keep what it is given as constants, so it is given nothing.
        super().__init__(tf.zeros([0], keys.dtype), tf.zeros([0], values.dtype))
        self._key_variable = keys
        self._value_variable = values

    def initialize(self, table: tf.lookup.StaticHashTable) -> tf.Operation:
        return tf.raw_ops.InitializeTableV2(
            table_handle=table.resource_handle,
            keys=self._key_variable.read_value(),
            values=self._value_variable.read_value(),
        )
