"""Learning Hidden Unit Contributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


class Lhuc(keras.layers.Layer):
    """A gate per user on every hidden unit of the towers: 2 * sigmoid(r_user).

    r_user is a linear map of the user's embedding, r = e W + b, one for all layers and tasks. In
    the speech recogniser of the paper each speaker has free numbers r of their own; here that would
    be a second table of users, as wide as all towers together, in which a new user's row knows
    nothing. The map gives every user a gate from the row that they have anyway. W and b start at 0,
    so that all gates start at 1.

    It is PPNet without its hidden layer, its item and author, and its gate on the towers' input.

    Args:
      num_tasks: K.
      tower_units: The towers' hidden layer widths.

    Reference: Swietojanski, Li and Renals, "Learning Hidden Unit Contributions for Unsupervised
    Acoustic Model Adaptation", IEEE/ACM TASLP 24(8), 2016.
    """

    def __init__(self, num_tasks: int, tower_units: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        if not tower_units:
            raise ValueError(
                f"LHUC needs hidden layers in the towers. Received: tower_units={tower_units}"
            )
        self.num_tasks = num_tasks
        self.tower_units = list(tower_units)
        self._contributions = keras.layers.Dense(
            num_tasks * sum(tower_units), kernel_initializer="zeros", name="contributions"
        )

    def call(self, user: tf.Tensor) -> list[tf.Tensor | None]:
        """The gates, for `Tower`.

        Args:
          user: float32 [B, p], the user's embedding.

        Returns:
          None for the towers' first layer, which reads its input as it is; then one gate a hidden
          layer, float32 [B, K, width], on what it gives to the next.
        """
        gates = 2 * tf.sigmoid(self._contributions(user))
        gates = tf.reshape(gates, [-1, self.num_tasks, sum(self.tower_units)])
        return [None, *tf.split(gates, self.tower_units, axis=2)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "tower_units": self.tower_units,
        }
