"""Dense layers that every scenario has for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


class ScenarioDense(keras.layers.Layer):
    """N dense layers side by side in each scenario: y_n = f(x_n W_i,n + b_i,n) for x of scenario i.

    Examples come by scenario, so that those of one scenario are one product.

    Args:
      num_layers: N.
      units: Output width O of each.
      activation: Name of f. Defaults to none.
      use_bias: Whether there is a b_i,n. Defaults to True.
    """

    def __init__(
        self,
        num_layers: int,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.units = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Makes the weights.

        Args:
          input_shape: M times [b, I] or [b, N, I].
        """
        scenarios, width = len(input_shape), input_shape[0][-1]
        self.kernel = self.add_weight(
            "kernel",
            [scenarios, width, self.num_layers, self.units],
            initializer=_each_on_its_own,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", [scenarios, self.num_layers, self.units], initializer="zeros"
            )
        super().build(input_shape)

    def call(self, groups: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Applies the layers to the examples of each scenario.

        Args:
          groups: M times float32 [b, I], read by all N, or [b, N, I], as `ScenarioGroups` makes
            them.

        Returns:
          M times float32 [b, N, O].
        """
        scenarios, width = self.kernel.shape[:2]
        outputs_width = self.num_layers * self.units
        if groups[0].shape.rank == 2:
            kernels = tf.unstack(tf.reshape(self.kernel, [scenarios, width, outputs_width]))
            outputs = [tf.matmul(x, kernel) for x, kernel in zip(groups, kernels, strict=True)]
        else:
            kernels = tf.unstack(self.kernel)
            outputs = [
                tf.reshape(tf.einsum("bni,ino->bno", x, kernel), [-1, outputs_width])
                for x, kernel in zip(groups, kernels, strict=True)
            ]
        if self.use_bias:
            biases = tf.unstack(tf.reshape(self.bias, [scenarios, outputs_width]))
            outputs = [tf.nn.bias_add(y, bias) for y, bias in zip(outputs, biases, strict=True)]
        return [tf.reshape(self.activation(y), [-1, self.num_layers, self.units]) for y in outputs]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


def _each_on_its_own(shape: Sequence[int], dtype: tf.DType, **_: Any) -> tf.Tensor:
    """Draws each of the M * N kernels with its own fan-in and fan-out: a uniform Glorot start."""
    limit = (6 / (shape[1] + shape[3])) ** 0.5
    return tf.random.uniform(shape, -limit, limit, dtype)
