"""DeepFM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.layers.stacked_dense import StackedDense


class DeepFm(Backbone):
    """A factorization machine beside an MLP, on the same embeddings.

    With x the whole input and v_1 .. v_F in R^D the embeddings of its fields,

        y_k = x . w_k  +  r_k . sum_{f < g} v_f * v_g  +  MLP_k(x)

    The pairs are summed as ((sum_f v_f)^2 - sum_f v_f^2) / 2, so their cost grows with F, not F^2.

    DeepFM has one task. For K tasks, each weighs the D components of the pairs with its own r_k,
    which starts at 1: with one task, at the start, the pairs count as in DeepFM. DeepFM's
    first-order weight of a key is a number of its own; here it is the linear function w_k of the
    key's embedding. Numbers and the scenario have no embedding and enter the first order and the
    MLP only.

    Args:
      num_tasks: K.
      field_dims: The widths of the F fields, at least 2 fields, all of width D. The fields lie at
        the start of the input, in order.
      units: Hidden layer widths of each task's MLP; none makes it linear.

    Reference: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction", IJCAI 2017.
    """

    scores = True

    def __init__(
        self,
        num_tasks: int,
        *,
        field_dims: Sequence[int],
        units: Sequence[int] = (128, 64),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(field_dims) < 2:
            raise ValueError(
                "`field_dims` should name at least 2 fields, to have a pair. "
                f"Received: field_dims={list(field_dims)}"
            )
        if len(set(field_dims)) > 1:
            raise ValueError(
                "`field_dims` should be the same width for all fields, since their embeddings are "
                f"multiplied. Received: field_dims={list(field_dims)}"
            )
        self.num_tasks = num_tasks
        self.field_dims = list(field_dims)
        self.units = list(units)
        # The MLP's last bias is that of the whole.
        self._first_order = StackedDense(num_tasks, 1, use_bias=False, name="first_order")
        self._deep = [
            StackedDense(num_tasks, width, "relu" if i <= len(units) else None, name=f"deep_{i}")
            for i, width in enumerate([*units, 1], start=1)
        ]

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights of the pairs.

        Args:
          input_shape: [B, I].

        Raises:
          ValueError: where the fields are wider than the input.
        """
        width = tf.TensorShape(input_shape)[-1]
        if width < sum(self.field_dims):
            raise ValueError(
                f"`field_dims` should add up to no more than the input's width {width}. "
                f"Received: field_dims={list(self.field_dims)}"
            )
        self.pair_weights = self.add_weight(
            "pair_weights", [self.field_dims[0], self.num_tasks], initializer="ones"
        )
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, scenario: tf.Tensor, training: bool = False
    ) -> BackboneOutput:
        """Scores examples.

        Args:
          inputs: float32 [B, I], the fields' embeddings first.
          scenario: int64 [B]; not read, x holds it.
          training: Not read; training and inference are alike.

        Returns:
          `logits` float32 [B, K]; named insides, which add up to them, `first_order`, `pairs` and
          `deep`, each float32 [B, K].
        """
        fields = tf.reshape(
            inputs[:, : sum(self.field_dims)], [-1, len(self.field_dims), self.field_dims[0]]
        )
        pairs = 0.5 * (
            tf.square(tf.reduce_sum(fields, axis=1)) - tf.reduce_sum(tf.square(fields), axis=1)
        )
        deep = inputs
        for layer in self._deep:
            deep = layer(deep)
        parts = {
            "first_order": tf.squeeze(self._first_order(inputs), axis=2),
            "pairs": tf.matmul(pairs, self.pair_weights),
            "deep": tf.squeeze(deep, axis=2),
        }
        return BackboneOutput(None, tf.add_n(list(parts.values())), parts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "field_dims": self.field_dims,
            "units": self.units,
        }
