"""Several dense layers of one shape, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.split_columns import Columns, SplitColumns, product


class StackedDense(keras.layers.Layer):
    """N dense layers side by side: y_n = f(x_n W_n + b_n).

    Layers that read the same input have their kernels side by side in one matrix and are one
    product. Where inputs differ there is one product an input: measured on CPU, under XLA and
    without, that is quicker than one batched product, which moves the batch axis first.

    Args:
      num_layers: N.
      units: Output width O of each.
      activation: Name of f. Defaults to none.
      use_bias: Whether there is a b_n. Defaults to True.
      readers: For inputs [B, G, I]: how many layers read each of the G, in order. Defaults to
        G = N inputs with one reader each.
    """

    def __init__(
        self,
        num_layers: int,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        readers: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.units = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.readers = [1] * num_layers if readers is None else list(readers)
        if sum(self.readers) != num_layers:
            raise ValueError(
                f"`readers` should add up to `num_layers`={num_layers}. Received: {readers}"
            )

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights.

        Args:
          input_shape: [B, I] or [B, G, I].

        Raises:
          ValueError: for any other shape.
        """
        shape = tf.TensorShape(input_shape)
        if shape.rank not in (2, 3) or (shape.rank == 3 and shape[1] != len(self.readers)):
            raise ValueError(
                f"`{self.name}` should be given [B, I] or [B, {len(self.readers)}, I]. "
                f"Received: shape {shape}"
            )
        self.kernel = self.add_weight(
            "kernel", [shape[-1], self.num_layers, self.units], initializer=_each_on_its_own
        )
        if self.use_bias:
            self.bias = self.add_weight("bias", [self.num_layers, self.units], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Columns) -> tf.Tensor:
        """Applies the layers.

        Args:
          inputs: float32 [B, I], or split columns, read by all; or [B, G, I].

        Returns:
          float32 [B, N, O].
        """
        if isinstance(inputs, SplitColumns) or inputs.shape.rank == 2:
            outputs = product(inputs, self.kernel)
        else:
            width = self.kernel.shape[0]
            kernels = tf.split(self.kernel, self.readers, axis=1)
            products = [
                tf.matmul(one, tf.reshape(kernel, [width, -1]))
                for one, kernel in zip(tf.unstack(inputs, axis=1), kernels, strict=True)
            ]
            outputs = tf.concat(products, axis=1)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.reshape(self.bias, [-1]))
        return self.activation(tf.reshape(outputs, [-1, self.num_layers, self.units]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "readers": self.readers,
        }


def _each_on_its_own(shape: list[int], dtype: tf.DType, **_: Any) -> tf.Tensor:
    """Draws each of the N kernels with its own initializer: its own fan-in and its own numbers.

    One Keras initializer gives the same numbers each time it is called, and experts that start
    equal stay equal for ever.
    """
    width, num_layers, units = shape
    kernels = [keras.initializers.GlorotUniform()([width, units], dtype) for _ in range(num_layers)]
    return tf.stack(kernels, axis=1)
