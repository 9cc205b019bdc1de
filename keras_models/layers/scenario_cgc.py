"""A CGC for each scenario, over the examples of that scenario alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.cgc import over_all_experts
from keras_models.layers.gate_softmax import gate_softmax
from keras_models.layers.scenario_dense import ScenarioDense
from keras_models.layers.scenario_groups import ScenarioGroups


class ScenarioCgc(keras.layers.Layer):
    """In each scenario, each task mixes its own experts and those its tasks share.

    With E_i,k(x) the experts of task k in scenario i and E_i,s(x) those that its tasks share, an
    example of scenario i gets

        y_k = softmax(x W_i,k) . [E_i,k(x) ; E_i,s(x)]

    A gate is one linear map without bias. An example passes through the weights of its own scenario
    only, so the work does not grow with the number of scenarios.

    Args:
      num_scenarios: M.
      num_tasks: K.
      experts_per_task: Experts P of each task.
      shared_experts: Experts S shared by all tasks.
      units: Layer widths of an expert; the last is H.

    Reference: Zhou et al., "HiNet: Novel Multi-Scenario & Multi-Task Learning with Hierarchical
    Information Extraction", ICDE 2023.
    """

    def __init__(
        self,
        num_scenarios: int,
        num_tasks: int,
        experts_per_task: int,
        shared_experts: int,
        units: Sequence[int],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_scenarios = num_scenarios
        self.num_tasks = num_tasks
        self.experts_per_task = experts_per_task
        self.shared_experts = shared_experts
        self.units = list(units)
        num_experts = num_tasks * experts_per_task + shared_experts
        self._experts = [
            ScenarioDense(num_experts, width, "relu", name=f"experts/layer_{i}")
            for i, width in enumerate(units, start=1)
        ]
        self._gates = ScenarioDense(
            num_tasks, experts_per_task + shared_experts, use_bias=False, name="gates"
        )

    def call(self, inputs: tf.Tensor, scenario: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies to each example the CGC of its scenario.

        Args:
          inputs: float32 [B, I].
          scenario: int64 [B].

        Returns:
          float32 [B, K, H]; and the gates, float32 [B, K, P + S], own experts first.
        """
        groups = ScenarioGroups(scenario, self.num_scenarios)
        experts = grouped = groups.group(inputs)
        for layer in self._experts:
            experts = layer(experts)
        gates = gate_softmax(groups.ungroup(self._gates(grouped)))
        over_all = over_all_experts(gates, self.experts_per_task)
        return tf.matmul(over_all, groups.ungroup(experts)), gates

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_scenarios": self.num_scenarios,
            "num_tasks": self.num_tasks,
            "experts_per_task": self.experts_per_task,
            "shared_experts": self.shared_experts,
            "units": self.units,
        }
