"""Several dense layers of one shape, computed together."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


class StackedDense(keras.layers.Layer):
    """N dense layers side by side: y_n = f(x_n W_n + b_n).

    Where all read one input the N kernels are one matrix and the layer is one product; where each
    reads its own it is one batched product.

    Args:
      num_layers: N.
      units: Output width O of each.
      activation: Name of f. Defaults to none.
      use_bias: Whether there is a b_n. Defaults to True.

    Input: float32 [B, I], read by all, or [B, N, I].
    Output: float32 [B, N, O].
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

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = tf.TensorShape(input_shape)
        own_inputs = shape.rank == 3
        if shape.rank not in (2, 3) or (own_inputs and shape[1] != self.num_layers):
            raise ValueError(
                f"`{self.name}` should be given [B, I] or [B, {self.num_layers}, I]. "
                f"Received: shape {shape}"
            )
        self.kernel = self.add_weight(
            "kernel", [self.num_layers, shape[-1], self.units], initializer=_each_on_its_own
        )
        if self.use_bias:
            self.bias = self.add_weight("bias", [self.num_layers, self.units], initializer="zeros")
        self._equation = "bni,nio->bno" if own_inputs else "bi,nio->bno"
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.einsum(self._equation, inputs, self.kernel)
        return self.activation(outputs + self.bias if self.use_bias else outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


def _each_on_its_own(shape: list[int], dtype: tf.DType, **_: Any) -> tf.Tensor:
    # One Keras initializer returns the same numbers each time it is called, so each kernel has its
    # own, and its own fan-in and fan-out: equal kernels would stay equal for ever.
    return tf.stack([keras.initializers.GlorotUniform()(shape[1:], dtype) for _ in range(shape[0])])
