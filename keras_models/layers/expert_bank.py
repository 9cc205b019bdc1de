"""The experts of one level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns


class ExpertBank(keras.layers.Layer):
    """E experts of one shape, each an MLP with ReLU, computed together.

    Args:
      num_experts: E.
      units: Layer widths of an expert; the last is H.
      readers: For inputs [B, G, I]: how many experts read each of the G, in order. Defaults to
        G = E inputs with one reader each.
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int],
        readers: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not units:
            raise ValueError(f"`units` should name at least one width. Received: units={units}")
        self.num_experts = num_experts
        self.units = list(units)
        self.readers = None if readers is None else list(readers)
        self._layers = [
            StackedDense(
                num_experts,
                width,
                "relu",
                # An expert's further layers read its own output.
                readers=readers if i == 1 else None,
                name=f"layer_{i}",
            )
            for i, width in enumerate(units, start=1)
        ]

    def call(self, inputs: Columns) -> tf.Tensor:
        """Applies the experts.

        Args:
          inputs: float32 [B, I], or split columns, read by all; or [B, G, I].

        Returns:
          float32 [B, E, H].
        """
        outputs = inputs
        for layer in self._layers:
            outputs = layer(outputs)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": self.units,
            "readers": self.readers,
        }
