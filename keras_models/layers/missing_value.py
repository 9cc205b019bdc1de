"""A learned value for a number that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


class MissingValue(keras.layers.Layer):
    """v'_j = v_j where number j is present, w_j where it is missing; w_j is trained.

    A number that is present stays as it is, zeros too, and the presence masks go on beside the
    numbers. The inputs are z-scores, so w_j = 0 is the training mean.

    Args:
      initial: Where w starts: one number, or one for each of the N. Defaults to 0.

    Reference: "Deep learning models for ranking in Meituan's Guess You Like" (in Chinese), Meituan
    technology blog, 29 March 2018, https://tech.meituan.com/2018/03/29/recommend-dnn.html.
    """

    def __init__(self, initial: float | Sequence[float] = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = initial if isinstance(initial, (int, float)) else list(initial)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes w.

        Args:
          input_shape: [B, 2N].

        Raises:
          ValueError: for an odd width, and where `initial` has another number of values than N.
        """
        shape = tf.TensorShape(input_shape)
        if shape.rank != 2 or shape[1] % 2:
            raise ValueError(
                f"`{self.name}` should be given N numbers and N masks, [B, 2N]. "
                f"Received: shape {shape}"
            )
        numbers = shape[1] // 2
        if isinstance(self.initial, list) and len(self.initial) != numbers:
            raise ValueError(
                f"`initial` should have one value for each of the {numbers} numbers. "
                f"Received: {len(self.initial)} values"
            )
        self.fill = self.add_weight(
            "fill", [numbers], initializer=keras.initializers.Constant(self.initial)
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Fills in what is missing.

        Args:
          inputs: float32 [B, 2N], N numbers, anything where missing, then N masks, 1 where present.

        Returns:
          float32 [B, 2N], the N numbers without gaps, then the masks.
        """
        numbers, masks = tf.split(inputs, 2, axis=1)
        return tf.concat([tf.where(masks > 0, numbers, self.fill), masks], axis=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "initial": self.initial}
