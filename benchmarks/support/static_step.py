"""The yardstick: a static Keras embedding and Keras' Adagrad."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from support.streams import SHAPE
from support.timing import Step

DIM = 16


def targets() -> tf.Tensor:
    """What the embeddings are drawn to: float32 [B, F, DIM]."""
    return tf.random.stateless_normal([*SHAPE, DIM], [1, 2])


def static_step(log2_rows: int) -> Step:
    """A step of `Embedding` and sparse Adagrad on the low bits of each key.

    The keys are fingerprints already, so hashing costs no more than that; different keys may share
    a row.

    Args:
      log2_rows: Logarithm of the number of rows.
    """
    target = targets()
    embedding = keras.layers.Embedding(2**log2_rows, DIM)
    embedding.build(None)
    optimizer = keras.optimizers.Adagrad(0.05, jit_compile=False)
    optimizer.build(embedding.trainable_variables)

    @tf.function(autograph=False)
    def step(keys: tf.Tensor) -> tf.Tensor:
        rows = tf.bitwise.bitwise_and(keys, tf.constant(2**log2_rows - 1, tf.int64))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(embedding(rows) - target))
        optimizer.minimize(loss, embedding.trainable_variables, tape)
        return loss

    return step
