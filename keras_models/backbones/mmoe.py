"""Multi-gate Mixture-of-Experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.gate_axes import Axes, numbered
from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.gate_softmax import gate_softmax
from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns


class Mmoe(Backbone):
    """All experts are shared; each task mixes them with a gate of its own.

    With E experts f_1 .. f_E, each an MLP with ReLU,

        h_k = sum_i g_k,i(x) f_i(x)
        g_k = softmax(x W_k)

    A gate is one linear map without bias and a softmax over the experts. There is a gate a task
    and none a scenario: x holds the scenario.

    Args:
      num_tasks: K.
      num_experts: E, at least 2: the softmax over a single expert is 1 whatever the gate says.
      expert_units: Layer widths of an expert; the last is H.

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018.
    """

    reads_split_columns = True

    def __init__(
        self,
        num_tasks: int,
        *,
        num_experts: int = 8,
        expert_units: Sequence[int] = (64,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_experts < 2:
            raise ValueError(
                f"`num_experts` should be at least 2. Received: num_experts={num_experts}"
            )
        self.num_tasks = num_tasks
        self.num_experts = num_experts
        self.expert_units = list(expert_units)
        self._experts = ExpertBank(num_experts, expert_units, name="experts")
        self._gates = StackedDense(num_tasks, num_experts, use_bias=False, name="gates")

    def call(self, inputs: Columns, scenario: tf.Tensor, training: bool = False) -> BackboneOutput:
        """Mixes the experts.

        Args:
          inputs: float32 [B, I], or split columns.
          scenario: int64 [B]; not read, x holds it.
          training: Not read; training and inference are alike.

        Returns:
          `hidden` float32 [B, K, H]; named inside `task_gates` float32 [B, K, E].
        """
        gates = gate_softmax(self._gates(inputs))
        hidden = tf.matmul(gates, self._experts(inputs))
        return BackboneOutput(hidden, None, {"task_gates": gates})

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """Each task's gate over the experts."""
        return {"task_gates": {"task": tasks, "expert": numbered("expert", self.num_experts)}}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "num_experts": self.num_experts,
            "expert_units": self.expert_units,
        }
