"""Hierarchical information extraction network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.gate_axes import Axes, numbered
from keras_models.layers.san import San
from keras_models.layers.scenario_cgc import ScenarioCgc
from keras_models.layers.sei import Sei
from keras_models.split_columns import Columns


class HiNet(Backbone):
    """What scenarios share, what is their own, what they take from one another; then tasks.

    For an example x of scenario i,

        G = SEI_shared(x),  S_m = SEI_m(x)  for every scenario m
        A_i = sum_{m != i} g_i,m S_m,  g_i = softmax(emb(i) W) without i itself
        C_i = [G ; S_i ; A_i]
        y_k = CGC_i,k(C_i)

    The task towers that read y_k are the model's, one a task, for all scenarios.

    Args:
      num_tasks: K.
      num_scenarios: M, at least 2.
      sub_experts: Sub-experts Q of each SEI.
      sub_expert_units: Layer widths of a sub-expert.
      scenario_dim: Width of a scenario's embedding in the attention over other scenarios.
      experts_per_task: Experts P of each task, in each scenario.
      shared_experts: Experts S shared by the tasks, in each scenario.
      expert_units: Layer widths of an expert; the last is H.

    Attributes:
      supports_xla: False: examples are grouped by scenario, and groups have no fixed size.

    Reference: Zhou et al., "HiNet: Novel Multi-Scenario & Multi-Task Learning with Hierarchical
    Information Extraction", ICDE 2023.
    """

    supports_xla = False
    min_scenarios = 2
    reads_split_columns = True

    def __init__(
        self,
        num_tasks: int,
        *,
        num_scenarios: int,
        sub_experts: int = 2,
        sub_expert_units: Sequence[int] = (64,),
        scenario_dim: int = 16,
        experts_per_task: int = 2,
        shared_experts: int = 2,
        expert_units: Sequence[int] = (64,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.num_scenarios = num_scenarios
        self.sub_experts = sub_experts
        self.sub_expert_units = list(sub_expert_units)
        self.scenario_dim = scenario_dim
        self.experts_per_task = experts_per_task
        self.shared_experts = shared_experts
        self.expert_units = list(expert_units)
        self._san = San(num_scenarios, scenario_dim, name="san")
        self._sei = Sei(1 + num_scenarios, sub_experts, sub_expert_units, name="sei")
        self._task_layer = ScenarioCgc(
            num_scenarios,
            num_tasks,
            experts_per_task,
            shared_experts,
            expert_units,
            name="task_layer",
        )

    def call(self, inputs: Columns, scenario: tf.Tensor, training: bool = False) -> BackboneOutput:
        """Applies the network.

        Args:
          inputs: float32 [B, I], or split columns.
          scenario: int64 [B].
          training: Makes no difference.

        Returns:
          `hidden` float32 [B, K, H], no `logits`, and by name: `san_weights` float32 [B, M], what
          the example's scenario takes from each; `sei_gates` float32 [B, 1 + M, Q], the shared SEI
          first; `task_gates` float32 [B, K, P + S], own experts first.
        """
        san_weights = self._san(scenario)
        # The SEIs are the shared one and then the scenarios' own.
        extractors, dtype = 1 + self.num_scenarios, san_weights.dtype
        shared = tf.one_hot(tf.zeros_like(scenario), extractors, dtype=dtype)
        own = tf.one_hot(1 + scenario, extractors, dtype=dtype)
        others = tf.pad(san_weights, [[0, 0], [1, 0]])
        extracted, sei_gates = self._sei(inputs, tf.stack([shared, own, others], axis=1))
        extracted = tf.reshape(extracted, [-1, 3 * self.sub_expert_units[-1]])
        hidden, task_gates = self._task_layer(extracted, scenario)
        intermediates = {
            "san_weights": san_weights,
            "sei_gates": sei_gates,
            "task_gates": task_gates,
        }
        return BackboneOutput(hidden, None, intermediates)

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """What scenarios take from one another, and the gates over sub-experts and experts."""
        own = numbered("own", self.experts_per_task)
        return {
            "san_weights": {"other scenario": scenarios},
            "sei_gates": {
                "extractor": ["all", *scenarios],
                "sub-expert": numbered("sub-expert", self.sub_experts),
            },
            "task_gates": {
                "task": tasks,
                "expert": [*own, *numbered("shared", self.shared_experts)],
            },
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "num_scenarios": self.num_scenarios,
            "sub_experts": self.sub_experts,
            "sub_expert_units": self.sub_expert_units,
            "scenario_dim": self.scenario_dim,
            "experts_per_task": self.experts_per_task,
            "shared_experts": self.shared_experts,
            "expert_units": self.expert_units,
        }
