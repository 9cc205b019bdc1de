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
        """Makes the weights.

        Args:
          input_shape: [B, I] or [B, N, I].

        Raises:
          ValueError: for any other shape.
        """
        shape = tf.TensorShape(input_shape)
        own_inputs = shape.rank == 3
        if shape.rank not in (2, 3) or (own_inputs and shape[1] != self.num_layers):
            raise ValueError(
                f"`{self.name}` should be given [B, I] or [B, {self.num_layers}, I]. "
                f"Received: shape {shape}"
            )
        # Read by all, the kernels lie side by side, so that the product is one of two matrices.
        axis = 0 if own_inputs else 1
        kernel_shape = [shape[-1], self.units]
        kernel_shape.insert(axis, self.num_layers)
        self.kernel = self.add_weight(
            "kernel", kernel_shape, initializer=lambda shape, dtype, **_: _each(shape, axis, dtype)
        )
        if self.use_bias:
            self.bias = self.add_weight("bias", [self.num_layers, self.units], initializer="zeros")
        self._equation = "bni,nio->bno" if own_inputs else "bi,ino->bno"
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the layers.

        Args:
          inputs: float32 [B, I], read by all, or [B, N, I].

        Returns:
          float32 [B, N, O].
        """
        outputs = tf.einsum(self._equation, inputs, self.kernel)
        return self.activation(outputs + self.bias if self.use_bias else outputs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


def _each(shape: list[int], axis: int, dtype: tf.DType) -> tf.Tensor:
    """Draws each kernel with its own initializer, so with its own fan-in and its own numbers.

    One Keras initializer gives the same numbers each time it is called, and experts that start
    equal stay equal for ever.
    """
    one = [size for i, size in enumerate(shape) if i != axis]
    kernels = [keras.initializers.GlorotUniform()(one, dtype) for _ in range(shape[axis])]
    return tf.stack(kernels, axis=axis)
