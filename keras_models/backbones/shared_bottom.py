"""Shared-Bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.layers.expert_bank import ExpertBank
from keras_models.split_columns import Columns


class SharedBottom(Backbone):
    """One MLP with ReLU that the towers of all tasks read: h_k = MLP(x).

    The MLP is computed once. What the K towers read is its output broadcast: measured on CPU, with
    the towers and the gradients, that costs no more than tiling, repeating or stacking it.

    Args:
      num_tasks: K.
      units: Layer widths of the MLP; the last is H.

    Reference: Caruana, "Multitask learning", Machine Learning 28, 1997.
    """

    reads_split_columns = True

    def __init__(self, num_tasks: int, *, units: Sequence[int] = (128, 64), **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.units = list(units)
        self._bottom = ExpertBank(1, units, name="bottom")

    def call(self, inputs: Columns, scenario: tf.Tensor, training: bool = False) -> BackboneOutput:
        """Applies the MLP.

        Args:
          inputs: float32 [B, I], or split columns.
          scenario: int64 [B]; not read, x holds it.
          training: Not read; training and inference are alike.

        Returns:
          `hidden` float32 [B, K, H], the same for all K.
        """
        bottom = self._bottom(inputs)
        shape = [tf.shape(bottom)[0], self.num_tasks, self.units[-1]]
        return BackboneOutput(tf.broadcast_to(bottom, shape), None, {})

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_tasks": self.num_tasks, "units": self.units}
