"""Dense layer of STAR's star topology."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


class StarDense(keras.layers.Layer):
    """A dense layer with shared weights at its centre and every scenario's own around it.

        y = f(x (W * W_i) + b + b_i)  for x of scenario i

    W_i starts at 1 and b_i at 0: scenarios start equal.

    Args:
      units: Output width O.
      activation: Name of f. Defaults to none.

    Reference: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for
    Multi-Domain CTR Prediction", CIKM 2021.
    """

    def __init__(self, units: int, activation: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Makes the weights.

        Args:
          input_shape: M times [b, I].
        """
        scenarios, width = len(input_shape), input_shape[0][-1]
        # Multiplied in float32: rounded before, a small change of W_i near 1 would be lost.
        keep = {"experimental_autocast": False}
        self.kernel = self.add_weight(
            "kernel", [width, self.units], initializer="glorot_uniform", **keep
        )
        self.scenario_kernels = self.add_weight(
            "scenario_kernels", [scenarios, width, self.units], initializer="ones", **keep
        )
        self.bias = self.add_weight("bias", [self.units], initializer="zeros", **keep)
        self.scenario_biases = self.add_weight(
            "scenario_biases", [scenarios, self.units], initializer="zeros", **keep
        )
        super().build(input_shape)

    def call(self, groups: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Applies the layer to the examples of each scenario.

        Args:
          groups: M times float32 [b, I], as `ScenarioGroups` makes them.

        Returns:
          M times float32 [b, O].
        """
        kernels = tf.cast(self.kernel * self.scenario_kernels, self.compute_dtype)
        biases = tf.cast(self.bias + self.scenario_biases, self.compute_dtype)
        return [
            self.activation(tf.nn.bias_add(tf.matmul(x, kernel), bias))
            for x, kernel, bias in zip(groups, tf.unstack(kernels), tf.unstack(biases), strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
        }
