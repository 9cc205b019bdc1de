"""Star topology adaptive recommender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.layers.partitioned_norm import PartitionedNorm
from keras_models.layers.scenario_groups import ScenarioGroups
from keras_models.layers.star_dense import StarDense
from keras_models.layers.tower import Tower


class Star(Backbone):
    """One network for all scenarios, whose weights each scenario scales with its own.

    For an example x of scenario i,

        h_0 = PartitionedNorm_i(x)
        h_l = relu(h_l-1 (W_l * W_l,i) + b_l + b_l,i)
        logit_k = tower_k(h_L) + auxiliary_k([emb(i) ; x])

    The towers are the model's, one a task; all read the same h_L.

    Args:
      num_tasks: K.
      num_scenarios: M.
      units: Layer widths of the star network; the last is H.
      momentum: Share of the moving averages of the normalisation that a batch leaves as it is.
      scenario_dim: Width of a scenario's embedding in the auxiliary network.
      auxiliary_units: Hidden layer widths of a task's auxiliary network.

    Attributes:
      supports_xla: False: examples are grouped by scenario, and groups have no fixed size.

    Reference: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for
    Multi-Domain CTR Prediction", CIKM 2021.
    """

    supports_xla = False
    min_scenarios = 2

    def __init__(
        self,
        num_tasks: int,
        *,
        num_scenarios: int,
        units: Sequence[int] = (128, 64),
        momentum: float = 0.99,
        scenario_dim: int = 16,
        auxiliary_units: Sequence[int] = (16,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not units:
            raise ValueError(f"`units` should name at least one width. Received: units={units}")
        self.num_tasks = num_tasks
        self.num_scenarios = num_scenarios
        self.units = list(units)
        self.momentum = momentum
        self.scenario_dim = scenario_dim
        self.auxiliary_units = list(auxiliary_units)
        self._norm = PartitionedNorm(num_scenarios, momentum, name="norm")
        self._layers = [
            StarDense(width, "relu", name=f"layer_{i}") for i, width in enumerate(units, start=1)
        ]
        self._auxiliary = Tower(num_tasks, auxiliary_units, name="auxiliary")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the scenarios' embeddings."""
        self.scenario_embedding = self.add_weight(
            "scenario_embedding", [self.num_scenarios, self.scenario_dim], initializer="uniform"
        )
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, scenario: tf.Tensor, training: bool = False
    ) -> BackboneOutput:
        """Applies the network.

        Args:
          inputs: float32 [B, I].
          scenario: int64 [B].
          training: Whether a scenario's examples are normalised with their own moments; see
            `PartitionedNorm`.

        Returns:
          `hidden` float32 [B, K, H], the same for all tasks; `logits` float32 [B, K], the auxiliary
          network's; no intermediates.
        """
        groups = ScenarioGroups(scenario, self.num_scenarios)
        outputs = groups.group(self._norm(inputs, scenario, training=training))
        for layer in self._layers:
            outputs = layer(outputs)
        hidden = tf.stack([groups.ungroup(outputs)] * self.num_tasks, axis=1)
        # A product with a one-hot matrix: its gradient is as dense as the optimizer wants it.
        one_hot = tf.one_hot(scenario, self.num_scenarios, dtype=inputs.dtype)
        embedded = tf.matmul(one_hot, self.scenario_embedding)
        logits = self._auxiliary(tf.concat([embedded, inputs], axis=1))
        return BackboneOutput(hidden, logits, {})

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "num_scenarios": self.num_scenarios,
            "units": self.units,
            "momentum": self.momentum,
            "scenario_dim": self.scenario_dim,
            "auxiliary_units": self.auxiliary_units,
        }
