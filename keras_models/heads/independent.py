"""Tasks that do not depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.tasks import Task, logit_columns, read_tasks


class IndependentHead(keras.layers.Layer):
    """Every task's logits stand for that task alone.

    Computes in float32 whatever the policy is.

    Args:
      tasks: K tasks with L logits together.
    """

    def __init__(self, tasks: Sequence[Task | str | Mapping[str, Any]], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.tasks = read_tasks(tasks)
        self._columns = logit_columns(self.tasks)

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits [B, L] that each task's label is compared with: those of the model."""
        return logits

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is served.

        Args:
          logits: float32 [B, L], the model's.

        Returns:
          By task: the probability sigmoid(z), float32 [B], of a binary or ranking task; z, float32
          [B], of a regression; softmax(z), float32 [B, C], of a multiclass task.
        """
        return {task.name: served(task, logits[:, self._columns[task.name]]) for task in self.tasks}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "tasks": [asdict(task) for task in self.tasks]}


def served(task: Task, logits: tf.Tensor) -> tf.Tensor:
    """A task's output, float32 [B] or [B, C], from its own logits [B, 1] or [B, C]."""
    if task.kind == "multiclass":
        return tf.nn.softmax(logits, axis=1)
    logit = tf.squeeze(logits, axis=1)
    return logit if task.kind == "regression" else tf.sigmoid(logit)
