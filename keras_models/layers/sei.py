"""Sub-Expert Integration, HiNet's extractor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.gate_softmax import gate_softmax
from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns


class Sei(keras.layers.Layer):
    """N extractors side by side, each a gated mixture of its own sub-experts, and sums of them.

        SEI_n(x) = sum_q softmax(x W_n)_q Q_n,q(x)
        y_c = sum_n a_c,n SEI_n(x)

    A sub-expert Q is an MLP with ReLU, a gate one linear map without bias. All sub-experts are one
    product. Who reads them wants few sums y_c of many extractors, so the gates are multiplied into
    the coefficients a, and the SEI_n(x) themselves, as wide as all sub-experts together, are never
    made.

    Args:
      num_extractors: N.
      sub_experts: Sub-experts Q of each extractor, at least 2.
      units: Layer widths of a sub-expert; the last is H.

    Reference: Zhou et al., "HiNet: Novel Multi-Scenario & Multi-Task Learning with Hierarchical
    Information Extraction", ICDE 2023.
    """

    def __init__(self, num_extractors: int, sub_experts: int, units: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        if sub_experts < 2:
            raise ValueError(
                "`sub_experts` should be at least 2: the gate over a single one is always 1. "
                f"Received: sub_experts={sub_experts}"
            )
        self.num_extractors = num_extractors
        self.sub_experts = sub_experts
        self.units = list(units)
        self._sub_experts = ExpertBank(num_extractors * sub_experts, units, name="sub_experts")
        self._gates = StackedDense(num_extractors, sub_experts, use_bias=False, name="gates")

    def call(self, inputs: Columns, coefficients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the extractors and sums them.

        Args:
          inputs: float32 [B, I], or split columns.
          coefficients: float32 [B, C, N], a; for the extractors themselves the identity.

        Returns:
          float32 [B, C, H]; and the gates, float32 [B, N, Q].
        """
        gates = gate_softmax(self._gates(inputs))
        weights = coefficients[..., tf.newaxis] * gates[:, tf.newaxis]
        number = self.num_extractors * self.sub_experts
        weights = tf.reshape(weights, [-1, coefficients.shape[1], number])
        return tf.matmul(weights, self._sub_experts(inputs)), gates

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_extractors": self.num_extractors,
            "sub_experts": self.sub_experts,
            "units": self.units,
        }
