"""Progressive Layered Extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.gate_axes import Axes
from keras_models.layers.cgc import Cgc
from keras_models.split_columns import Columns


class Ple(Backbone):
    """Levels of CGC: shared and task-specific experts, separated further at each level.

    Level j's experts and gate of task k read y_k of level j - 1, its shared experts and shared gate
    read y_s of level j - 1; level 1 reads x. The last level has no shared gate.

    Args:
      num_tasks: K.
      levels: Extraction levels.
      experts_per_task: Experts P of each task, per level.
      shared_experts: Experts S shared by all tasks, per level.
      expert_units: Layer widths of an expert; the last is H.

    Reference: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020.
    """

    reads_split_columns = True

    def __init__(
        self,
        num_tasks: int,
        *,
        levels: int = 2,
        experts_per_task: int = 2,
        shared_experts: int = 2,
        expert_units: Sequence[int] = (64,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if levels < 1:
            raise ValueError(f"`levels` should be at least 1. Received: levels={levels}")
        self.num_tasks = num_tasks
        self.levels = levels
        self.experts_per_task = experts_per_task
        self.shared_experts = shared_experts
        self.expert_units = list(expert_units)
        self._levels = [
            Cgc(
                num_tasks,
                experts_per_task,
                shared_experts,
                expert_units,
                shared_gate=level < levels,
                name=f"level_{level}",
            )
            for level in range(1, levels + 1)
        ]

    def call(self, inputs: Columns, scenario: tf.Tensor, training: bool = False) -> BackboneOutput:
        """Applies the levels.

        Args:
          inputs: float32 [B, I], or split columns.
          scenario: int64 [B]; not read, x holds it.
          training: Not read; training and inference are alike.

        Returns:
          `hidden` float32 [B, K, H]; and the gates by name: `level_1/task_gates` float32
          [B, K, P + S], own experts first, `level_1/shared_gate` float32 [B, K * P + S], and so on.
        """
        outputs, intermediates = inputs, {}
        for level in self._levels:
            outputs, gates = level(outputs)
            intermediates.update({f"{level.name}/{name}": gate for name, gate in gates.items()})
        return BackboneOutput(outputs, None, intermediates)

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """Every level's gates."""
        return {
            f"{level.name}/{name}": axes
            for level in self._levels
            for name, axes in level.gate_axes(tasks).items()
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "levels": self.levels,
            "experts_per_task": self.experts_per_task,
            "shared_experts": self.shared_experts,
            "expert_units": self.expert_units,
        }
