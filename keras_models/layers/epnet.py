"""Embedding Personalised Network, the lower half of PEPNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models.layers.gate_nu import GateNu
from keras_models.precision import precision
from keras_models.split_columns import Columns, each, join, whole


class EpNet(keras.layers.Layer):
    """Scales the embeddings to the scenario: delta = GateNU([F_domain ; sg(E)]), O_ep = delta * E.

    The gate reads the embeddings under a stop-gradient: they learn from what they say, not from
    what they switch on. It does teach F_domain.

    Args:
      hidden_units: Width of the gate's hidden layer.
      gamma: The largest factor.
      per_field: One factor a field instead of one a number.
      field_dims: Widths D_1 .. D_F of the fields in E; needed with `per_field`.

    Reference: Chang et al., "PEPNet", KDD 2023.
    """

    def __init__(
        self,
        *,
        hidden_units: int = 64,
        gamma: float = 2.0,
        per_field: bool = False,
        field_dims: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if per_field and not field_dims:
            raise ValueError(
                f"`per_field` needs the widths of the fields. Received: field_dims={field_dims}"
            )
        self.hidden_units = hidden_units
        self.gamma = gamma
        self.per_field = per_field
        self.field_dims = None if field_dims is None else list(field_dims)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the gate.

        Args:
          input_shape: [B, I], the embeddings'.

        Raises:
          ValueError: where the fields' widths do not add up to I.
        """
        width = tf.TensorShape(input_shape)[-1]
        if self.field_dims is not None and sum(self.field_dims) != width:
            raise ValueError(
                f"`field_dims` should add up to the {width} numbers of the embeddings. "
                f"Received: {list(self.field_dims)}"
            )
        fields = self.field_dims if self.per_field else None
        with precision(self.dtype_policy.name):
            self._gate = GateNu(
                [len(fields) if fields else width],
                hidden_units=self.hidden_units,
                gamma=self.gamma,
                name="gate",
            )
        # 1 where a number (column) is of a field (row).
        self._spread = np.repeat(np.eye(len(fields)), fields, axis=1) if fields else None
        super().build(input_shape)

    def call(self, embedded: Columns, domain: Columns) -> tuple[tf.Tensor, tf.Tensor]:
        """Scales the embeddings.

        Args:
          embedded: float32 [B, I], E, the embeddings of all fields side by side, or split columns.
          domain: float32 [B, d], F_domain, the scenario and its statistics, or split columns.

        Returns:
          O_ep float32 [B, I]; delta float32 [B, I], or [B, F] with `per_field`.
        """
        read = [domain, each(embedded, tf.stop_gradient)]
        cast = [each(part, lambda block: tf.cast(block, self.compute_dtype)) for part in read]
        (delta,) = self._gate(join(cast))
        embedded = whole(embedded)
        if self._spread is None:
            return delta * embedded, delta
        return tf.matmul(delta, tf.constant(self._spread, delta.dtype)) * embedded, delta

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "gamma": self.gamma,
            "per_field": self.per_field,
            "field_dims": self.field_dims,
        }
