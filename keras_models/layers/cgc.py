"""Customized Gate Control, one extraction level of PLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.stacked_dense import StackedDense


class Cgc(keras.layers.Layer):
    """Each task mixes its own experts and the shared ones; a shared gate mixes all of them.

    With E_k(x) the experts of task k and E_s(x) the shared ones,

        y_k = softmax(x_k W_k) . [E_k(x_k) ; E_s(x_s)]
        y_s = softmax(x_s W_s) . [E_1(x_1) ; ... ; E_K(x_K) ; E_s(x_s)]

    A gate is one linear map without bias. In the first level all of x_1 .. x_K and x_s are the one
    input x, and all experts are one product.

    Args:
      num_tasks: K.
      experts_per_task: Experts P of each task.
      shared_experts: Experts S shared by all tasks.
      units: Layer widths of an expert; the last is H.
      shared_gate: Whether there is a y_s; the last level has none.

    Reference: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, section 4.1.
    """

    def __init__(
        self,
        num_tasks: int,
        experts_per_task: int,
        shared_experts: int,
        units: Sequence[int],
        shared_gate: bool,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.experts_per_task = experts_per_task
        self.shared_experts = shared_experts
        self.units = list(units)
        self.shared_gate = shared_gate
        num_experts = num_tasks * experts_per_task + shared_experts
        self._experts = ExpertBank(
            num_experts,
            units,
            readers=[experts_per_task] * num_tasks + [shared_experts],
            name="experts",
        )
        self._task_gates = StackedDense(
            num_tasks, experts_per_task + shared_experts, use_bias=False, name="task_gates"
        )
        if shared_gate:
            self._shared_gate = StackedDense(1, num_experts, use_bias=False, name="shared_gate")

    def call(self, inputs: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Applies the level.

        Args:
          inputs: float32 [B, I], read by all, or [B, K + 1, I], x_s last.

        Returns:
          float32 [B, K + 1, H], y_s last, or [B, K, H] without a shared gate; and the gates:
          `task_gates` float32 [B, K, P + S], own experts first, and, where there is a shared gate,
          `shared_gate` float32 [B, K * P + S].
        """
        tasks, own = self.num_tasks, self.experts_per_task
        for_tasks = for_shared = inputs
        if inputs.shape.rank == 3:
            for_tasks, for_shared = inputs[:, :tasks], inputs[:, tasks]
        experts = self._experts(inputs)
        own_experts = tf.reshape(experts[:, : tasks * own], [-1, tasks, own, self.units[-1]])
        task_gates = tf.nn.softmax(self._task_gates(for_tasks), axis=-1)
        outputs = tf.einsum("bkp,bkph->bkh", task_gates[:, :, :own], own_experts) + tf.einsum(
            "bks,bsh->bkh", task_gates[:, :, own:], experts[:, tasks * own :]
        )
        if not self.shared_gate:
            return outputs, {"task_gates": task_gates}
        shared_gate = tf.nn.softmax(self._shared_gate(for_shared), axis=-1)
        outputs = tf.concat([outputs, tf.matmul(shared_gate, experts)], axis=1)
        return outputs, {"task_gates": task_gates, "shared_gate": shared_gate[:, 0]}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "experts_per_task": self.experts_per_task,
            "shared_experts": self.shared_experts,
            "units": self.units,
            "shared_gate": self.shared_gate,
        }
