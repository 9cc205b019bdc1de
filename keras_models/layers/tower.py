"""The towers of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.stacked_dense import StackedDense


class Tower(keras.layers.Layer):
    """One MLP with ReLU a task and a linear map to its logit, all tasks at once.

    Args:
      num_tasks: K.
      units: Hidden layer widths; none makes the tower linear.
    """

    def __init__(self, num_tasks: int, units: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.units = list(units)
        self._layers = [
            StackedDense(num_tasks, width, "relu", name=f"layer_{i}")
            for i, width in enumerate(units, start=1)
        ]
        self._logit = StackedDense(num_tasks, 1, name="logit")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the towers.

        Args:
          inputs: float32 [B, K, H], a vector a task.

        Returns:
          float32 [B, K], logits.
        """
        outputs = inputs
        for layer in self._layers:
            outputs = layer(outputs)
        return tf.squeeze(self._logit(outputs), axis=2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_tasks": self.num_tasks, "units": self.units}
