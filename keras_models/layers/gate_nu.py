"""The gate of PEPNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns


class GateNu(keras.layers.Layer):
    """Factors between 0 and gamma: gate(x) = gamma * sigmoid(ReLU(x W + b) W' + b').

    With gamma = 2 a gate starts near 1 and can switch a number off or double it. Gates that read
    the same input share nothing; their hidden layers are one product.

    Args:
      units: Numbers that each of the N gates gives.
      hidden_units: Width of a gate's hidden layer.
      gamma: The largest factor.

    Reference: Chang et al., "PEPNet", KDD 2023 (Gate NU, the gate neural unit).
    """

    def __init__(
        self, units: Sequence[int], *, hidden_units: int = 64, gamma: float = 2.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if not units:
            raise ValueError(f"`units` should name at least one width. Received: units={units}")
        if gamma <= 0:
            raise ValueError(f"`gamma` should be above 0. Received: gamma={gamma}")
        self.units = list(units)
        self.hidden_units = hidden_units
        self.gamma = gamma
        self._hidden = StackedDense(len(self.units), hidden_units, "relu", name="hidden")
        self._gates = [
            keras.layers.Dense(width, "sigmoid", name=f"gate_{i}")
            for i, width in enumerate(self.units, start=1)
        ]

    def call(self, inputs: Columns) -> list[tf.Tensor]:
        """Applies the gates.

        Args:
          inputs: float32 [B, I], or split columns.

        Returns:
          N tensors, float32 [B, units of the gate].
        """
        hidden = tf.unstack(self._hidden(inputs), axis=1)
        return [self.gamma * gate(h) for gate, h in zip(self._gates, hidden, strict=True)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
            "gamma": self.gamma,
        }
