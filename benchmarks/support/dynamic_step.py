"""A training step of a `DynamicEmbedding`, and how to fill one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_models.embeddings import DynamicEmbedding, Embedded
from support.static_step import targets
from support.streams import SHAPE
from support.timing import Step


def dynamic_step(embedding: DynamicEmbedding, day: int = 0) -> Step:
    """Look-up, squared loss, gradient and update.

    Args:
      embedding: One table.
      day: Of every example.
    """
    target = tf.reshape(targets(), [SHAPE[0], -1])

    @tf.function(autograph=False)
    def step(keys: tf.Tensor) -> tf.Tensor:
        embedded, lookup = embedding.train_lookup(
            keys, day=tf.fill(SHAPE[:1], tf.constant(day, tf.int64))
        )
        with tf.GradientTape() as tape:
            tape.watch(embedded.fields)
            loss = tf.reduce_mean(tf.square(embedded.fields - target))
        embedding.apply_gradients(lookup, Embedded(tape.gradient(loss, embedded.fields)))
        return loss

    return step


def fill(embedding: DynamicEmbedding, keys: np.ndarray, days: int = 1) -> np.ndarray:
    """Reads every key often enough to be admitted; trains nothing.

    Args:
      embedding: One table.
      keys: int64 [N].
      days: How many pass meanwhile, from day 0.

    Returns:
      int64 [M], the keys that have rows then.
    """

    @tf.function(autograph=False)
    def read(keys: tf.Tensor, day: tf.Tensor) -> None:
        embedding.train_lookup(keys, day=tf.fill(SHAPE[:1], day))

    # The last batch begins again with the first keys.
    batches = np.resize(keys, (-(-len(keys) // (SHAPE[0] * SHAPE[1])), *SHAPE))
    for number, batch in enumerate(batches):
        for _ in range(embedding.config.policy.admission.min_count):
            read(tf.constant(batch), tf.constant(number * days // len(batches), tf.int64))
    (table,) = embedding.tables
    live: np.ndarray = tf.gather(tf.reshape(table.keys, [-1]), table.live_slots()).numpy()
    return live
