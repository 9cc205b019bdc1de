"""Deep & Cross Network, version 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.layers.expert_bank import ExpertBank


class DcnV2(Backbone):
    """Products of input components, one degree more a layer, and an MLP on or beside them.

    With x_0 = x, cross layer l = 1 .. L gives

        x_l = x_0 * (x_{l-1} W_l + b_l) + x_{l-1}

    and h is MLP(x_L) where they are stacked, [x_L ; MLP(x)] where they are parallel. With a `rank`
    R, W_l is the product of a [I, R] and a [R, I] matrix.

    DCN-v2 has one task. For K tasks all towers read the same h, as of a shared bottom.

    tensorflow-recommenders' `MultiLayerDCN` computes the same low-rank layers, but not under mixed
    precision: it multiplies a bfloat16 by a float32 tensor, which TensorFlow refuses.

    Args:
      num_tasks: K.
      cross_layers: L.
      rank: R, or None for whole matrices, I x I. The paper found I / 4 to lose nothing.
      units: Layer widths of the MLP.
      structure: `stacked` or `parallel`. Stacked, h is as wide as the MLP's last layer; parallel,
        wider by I, which makes the towers dearer.

    Reference: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for
    Web-scale Learning to Rank Systems", WWW 2021.
    """

    def __init__(
        self,
        num_tasks: int,
        *,
        cross_layers: int = 2,
        rank: int | None = None,
        units: Sequence[int] = (128, 64),
        structure: Literal["stacked", "parallel"] = "stacked",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if cross_layers < 1:
            raise ValueError(
                f"`cross_layers` should be at least 1. Received: cross_layers={cross_layers}"
            )
        if rank is not None and rank < 1:
            raise ValueError(f"`rank` should be at least 1, or None. Received: rank={rank}")
        if structure not in ("stacked", "parallel"):
            raise ValueError(
                f"`structure` should be `stacked` or `parallel`. Received: structure={structure}"
            )
        self.num_tasks = num_tasks
        self.cross_layers = cross_layers
        self.rank = rank
        self.units = list(units)
        self.structure = structure
        self._deep = ExpertBank(1, units, name="deep")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights of the cross layers.

        Args:
          input_shape: [B, I].
        """
        width = tf.TensorShape(input_shape)[-1]
        shapes = {"kernel": [width, width]}
        if self.rank is not None:
            shapes = {"down": [width, self.rank], "up": [self.rank, width]}
        self._matrices = [
            [
                self.add_weight(f"cross_{i}_{name}", shape, initializer="glorot_uniform")
                for name, shape in shapes.items()
            ]
            for i in range(1, self.cross_layers + 1)
        ]
        self._biases = [
            self.add_weight(f"cross_{i}_bias", [width], initializer="zeros")
            for i in range(1, self.cross_layers + 1)
        ]
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, scenario: tf.Tensor, training: bool = False
    ) -> BackboneOutput:
        """Applies the cross layers and the MLP.

        Args:
          inputs: float32 [B, I].
          scenario: int64 [B]; not read, x holds it.
          training: Not read; training and inference are alike.

        Returns:
          `hidden` float32 [B, K, H], the same for all K; H is the MLP's last width, plus I where
          the structure is parallel.
        """
        crossed = inputs
        for matrices, bias in zip(self._matrices, self._biases, strict=True):
            product = crossed
            for matrix in matrices:
                product = tf.matmul(product, matrix)
            crossed = inputs * (product + bias) + crossed
        if self.structure == "stacked":
            hidden = self._deep(crossed)
        else:
            hidden = tf.concat([crossed[:, tf.newaxis], self._deep(inputs)], axis=2)
        shape = [tf.shape(hidden)[0], self.num_tasks, hidden.shape[-1]]
        return BackboneOutput(tf.broadcast_to(hidden, shape), None, {})

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "cross_layers": self.cross_layers,
            "rank": self.rank,
            "units": self.units,
            "structure": self.structure,
        }
