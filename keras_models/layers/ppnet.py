"""Parameter Personalised Network, the upper half of PEPNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.gate_nu import GateNu
from keras_models.precision import precision
from keras_models.split_columns import Columns, each, join


class PpNet(keras.layers.Layer):
    """Gates that fit the towers to the user, the item and the author.

    For layer l of the towers, the map to the logit among them,

        delta_l = GateNU_l([prior ; sg(O_ep)])        one gate for all K tasks, split by task
        H_k,l+1 = f((delta_k,l * H_k,l) W_k,l + b_k,l)

    so a gate scales what a layer reads and no gate scales a logit. The prior learns through the
    gates; O_ep does not.

    Args:
      num_tasks: K.
      tower_units: The towers' hidden layer widths.
      hidden_units: Width of a gate's hidden layer.
      gamma: The largest factor.
      position: `input`, as in the paper, or `output`: the gates scale what the towers' hidden
        layers give, which is what the next layer reads, so that only the gate on the towers' own
        input is gone.

    Reference: Chang et al., "PEPNet", KDD 2023.
    """

    def __init__(
        self,
        num_tasks: int,
        tower_units: Sequence[int],
        *,
        hidden_units: int = 64,
        gamma: float = 2.0,
        position: str = "input",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if position not in ("input", "output"):
            raise ValueError(f"`position` should be input or output. Received: position={position}")
        if position == "output" and not tower_units:
            raise ValueError(
                "`position` output needs hidden layers in the towers. "
                f"Received: tower_units={tower_units}"
            )
        self.num_tasks = num_tasks
        self.tower_units = list(tower_units)
        self.hidden_units = hidden_units
        self.gamma = gamma
        self.position = position

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the gates.

        Args:
          input_shape: [B, K, H], that of what the towers read.
        """
        read = [tf.TensorShape(input_shape)[-1], *self.tower_units]
        self._widths = read if self.position == "input" else self.tower_units
        with precision(self.dtype_policy.name):
            self._gates = GateNu(
                [self.num_tasks * width for width in self._widths],
                hidden_units=self.hidden_units,
                gamma=self.gamma,
                name="gates",
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, prior: Columns, embedded: Columns) -> list[tf.Tensor | None]:
        """The gates, for `Tower`.

        Args:
          inputs: float32 [B, K, H], what the towers read; only its width counts.
          prior: float32 [B, p], embeddings of user, item and author, or split columns.
          embedded: float32 [B, I], O_ep, or the embeddings without an EPNet; or split columns.

        Returns:
          One gate a layer of the towers, float32 [B, K, width of what it reads]; None for a layer
          that reads its input as it is.
        """
        read = [prior, each(embedded, tf.stop_gradient)]
        known = join([each(p, lambda block: tf.cast(block, self.compute_dtype)) for p in read])
        gates = [
            tf.reshape(gate, [-1, self.num_tasks, width])
            for gate, width in zip(self._gates(known), self._widths, strict=True)
        ]
        return gates if self.position == "input" else [None, *gates]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "tower_units": self.tower_units,
            "hidden_units": self.hidden_units,
            "gamma": self.gamma,
            "position": self.position,
        }
