"""The towers of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.stacked_dense import StackedDense


class Tower(keras.layers.Layer):
    """One MLP with ReLU a task and a linear map to its logits, all tasks at once.

    A layer may read its input through a gate, H' = f((delta * H) W + b), as PPNet and LHUC have it;
    a logit is not gated.

    Args:
      num_tasks: K.
      units: Hidden layer widths; none makes the tower linear.
      outputs: Logits of each task; one by default.
    """

    def __init__(
        self,
        num_tasks: int,
        units: Sequence[int],
        outputs: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.units = list(units)
        self.outputs = [1] * num_tasks if outputs is None else list(outputs)
        if len(self.outputs) != num_tasks:
            raise ValueError(
                f"`outputs` should have one for each of {num_tasks} tasks. "
                f"Received: {list(self.outputs)}"
            )
        self._layers = [
            StackedDense(num_tasks, width, "relu", name=f"layer_{i}")
            for i, width in enumerate(units, start=1)
        ]
        # In float32 under any policy: bfloat16 has so few digits that scores would tie.
        self._logit = StackedDense(
            sum(self.outputs), 1, readers=self.outputs, dtype="float32", name="logit"
        )

    def call(self, inputs: tf.Tensor, gates: Sequence[tf.Tensor | None] | None = None) -> tf.Tensor:
        """Applies the towers.

        Args:
          inputs: float32 [B, K, H], a vector a task.
          gates: One for each hidden layer and one for the map to the logit, float32 [B, K, width of
            what it reads]; None for a layer that reads its input as it is. Defaults to no gates.

        Returns:
          float32 [B, L], logits, task by task.

        Raises:
          ValueError: for another number of gates, or another shape of a gate.
        """
        layers = [*self._layers, self._logit]
        gates = [None] * len(layers) if gates is None else gates
        if len(gates) != len(layers):
            raise ValueError(
                f"`gates` should have one for each of the {len(layers)} layers of `{self.name}`. "
                f"Received: {len(gates)}"
            )
        outputs = inputs
        for layer, gate in zip(layers, gates, strict=True):
            if gate is not None:
                if not gate.shape.is_compatible_with(outputs.shape):
                    raise ValueError(
                        f"A gate should have the shape of what `{layer.name}` reads, "
                        f"{outputs.shape}. Received: shape {gate.shape}"
                    )
                outputs = gate * outputs
            outputs = layer(outputs)
        return tf.squeeze(outputs, axis=2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "units": self.units,
            "outputs": self.outputs,
        }
