"""Customized Gate Control, one extraction level of PLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.gate_axes import Axes, numbered
from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.gate_softmax import gate_softmax
from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns, SplitColumns


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

    def call(self, inputs: Columns) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Applies the level.

        Args:
          inputs: float32 [B, I], or split columns, read by all; or [B, K + 1, I], x_s last.

        Returns:
          float32 [B, K + 1, H], y_s last, or [B, K, H] without a shared gate; and the gates:
          `task_gates` float32 [B, K, P + S], own experts first, and, where there is a shared gate,
          `shared_gate` float32 [B, K * P + S].
        """
        for_tasks = for_shared = inputs
        if not isinstance(inputs, SplitColumns) and inputs.shape.rank == 3:
            # Split, not sliced: on CPU the gradient of a slice takes several times as long.
            for_tasks, for_shared = tf.split(inputs, [self.num_tasks, 1], axis=1)
        gates = {"task_gates": gate_softmax(self._task_gates(for_tasks))}
        over_all = over_all_experts(gates["task_gates"], self.experts_per_task)
        if self.shared_gate:
            shared_gate = gate_softmax(self._shared_gate(for_shared))
            over_all = tf.concat([over_all, shared_gate], axis=1)
            gates["shared_gate"] = shared_gate[:, 0]
        return tf.matmul(over_all, self._experts(inputs)), gates

    def gate_axes(self, tasks: Sequence[str]) -> dict[str, Axes]:
        """What lies along the axes of the gates that `call` names.

        Args:
          tasks: Names of the K tasks.
        """
        own = numbered("own", self.experts_per_task)
        shared = numbered("shared", self.shared_experts)
        axes: dict[str, Axes] = {"task_gates": {"task": tasks, "expert": [*own, *shared]}}
        if self.shared_gate:
            of_tasks = [label for task in tasks for label in numbered(task, self.experts_per_task)]
            axes["shared_gate"] = {"expert": [*of_tasks, *shared]}
        return axes

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


def over_all_experts(gates: tf.Tensor, own: int) -> tf.Tensor:
    """Gates over all experts, zero on other tasks' own, so that one batched product mixes them.

    Measured on CPU, a training step of the layer takes two thirds of the time that it takes with
    own and shared experts apart.

    Args:
      gates: [B, K, P + S], own experts first.
      own: P.

    Returns:
      [B, K, K * P + S].
    """
    tasks, experts = gates.shape[1:]
    own_gates, shared_gates = tf.split(gates, [own, experts - own], axis=2)
    of_task = tf.eye(tasks, dtype=gates.dtype)[:, :, tf.newaxis]
    own_gates = tf.reshape(own_gates[:, :, tf.newaxis] * of_task, [-1, tasks, tasks * own])
    return tf.concat([own_gates, shared_gates], axis=2)
