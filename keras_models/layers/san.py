"""The scenario-aware attentive network of HiNet."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras


class San(keras.layers.Layer):
    """How much a scenario takes from each of the others.

        g_i = softmax(emb(i) W), the logit of i itself set to -inf before

    so that g_i,i = 0 and the others' weights sum to 1. They depend on nothing but i, so they are
    worked out once for each scenario and then looked up. With two scenarios each takes all from
    the other, and there is nothing to learn.

    Args:
      num_scenarios: M, at least 2.
      dim: Width of a scenario's embedding.

    Reference: Zhou et al., "HiNet: Novel Multi-Scenario & Multi-Task Learning with Hierarchical
    Information Extraction", ICDE 2023.
    """

    def __init__(self, num_scenarios: int, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        if num_scenarios < 2:
            raise ValueError(
                "`num_scenarios` should be at least 2: a scenario takes from the others, and there "
                f"would be none. Received: num_scenarios={num_scenarios}"
            )
        self.num_scenarios = num_scenarios
        self.dim = dim

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights."""
        self.embedding = self.add_weight(
            "embedding", [self.num_scenarios, self.dim], initializer="uniform"
        )
        self.kernel = self.add_weight(
            "kernel", [self.dim, self.num_scenarios], initializer="glorot_uniform"
        )
        super().build(input_shape)

    def call(self, scenario: tf.Tensor) -> tf.Tensor:
        """Looks the weights up.

        Args:
          scenario: int64 [B].

        Returns:
          float32 [B, M], g.
        """
        logits = tf.matmul(self.embedding, self.kernel)
        own = tf.eye(self.num_scenarios, dtype=tf.bool)
        table = tf.nn.softmax(tf.where(own, tf.cast(-math.inf, logits.dtype), logits), axis=-1)
        return tf.gather(table, scenario)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_scenarios": self.num_scenarios, "dim": self.dim}
