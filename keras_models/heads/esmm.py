"""Entire Space Multi-task Model: a conversion's probability over all impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.heads.independent import served
from keras_models.heads.log_probability import log_probabilities, log_product
from keras_models.tasks import Task, logit_columns, read_tasks


class EsmmHead(keras.layers.Layer):
    """A task that comes `after` another predicts both together, from a logit for itself alone.

    With z_k the logit of task k, and j the task that k comes after:

        P(k | j) = sigmoid(z_k),  P(k) = P(k | j) P(j),  so pCTCVR = pCVR pCTR

    Labels, losses and the task's output are those of P(k), over all examples; there is no loss on
    P(k | j) alone, which clicks would have chosen the examples of. A chain may be of any length,
    and several tasks may come after one. Tasks without `after` stay as they are.

    Computed in log space (ls = log-sigmoid), never as a clipped product:

        log P(k)       = log P(j) + ls(z_k)
        log (1 - P(k)) = logaddexp(log (1 - P(j)), log P(j) + ls(-z_k))
        logit          = log P(k) - log (1 - P(k))

    which is finite, and has finite gradients, wherever |z| is at most 1e4. Computes in float32
    whatever the policy is.

    Args:
      tasks: K tasks; those with `after`, and those they name, are binary.

    Reference: Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating
    Post-Click Conversion Rate", SIGIR 2018.
    """

    def __init__(self, tasks: Sequence[Task | str | Mapping[str, Any]], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.tasks = read_tasks(tasks)
        self._columns = logit_columns(self.tasks)
        self._parents_first = _parents_first(self.tasks)

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        """Turns the logits of P(k | j) into those of P(k).

        Args:
          logits: float32 [B, L], the model's.

        Returns:
          float32 [B, L], what each task's label is compared with.
        """
        columns = {name: logits[:, column] for name, column in self._columns.items()}
        joint: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
        for task in self._parents_first:
            own = log_probabilities(columns[task.name])
            if task.after is None:
                joint[task.name] = own
            else:
                joint[task.name] = log_product(joint[task.after], own)
                is_so, is_not = joint[task.name]
                columns[task.name] = is_so - is_not
        return tf.concat([columns[task.name] for task in self.tasks], axis=1)

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is served.

        Args:
          logits: float32 [B, L], the model's.

        Returns:
          As of `IndependentHead`, with P(k) for a task that comes after another, and P(k | j)
          beside it as `TASK_given_PARENT`, float32 [B].
        """
        compared = self(logits)
        named = {}
        for task in self.tasks:
            column = self._columns[task.name]
            named[task.name] = served(task, compared[:, column])
            if task.after is not None:
                named[given(task)] = served(task, logits[:, column])
        return named

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "tasks": [asdict(task) for task in self.tasks]}


def given(task: Task) -> str:
    """Name of the output with P(task | the task it comes after)."""
    return f"{task.name}_given_{task.after}"


def _parents_first(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, each behind the one that it comes after."""
    by_name = {task.name: task for task in tasks}
    if all(task.after is None for task in tasks):
        raise ValueError(
            "`tasks` should have one that comes `after` another. Received: none; "
            "`IndependentHead` is for such tasks"
        )
    for task in tasks:
        if task.after is not None:
            if task.after not in by_name:
                raise ValueError(
                    f"`after` of task `{task.name}` should be one of {', '.join(by_name)}. "
                    f"Received: {task.after}"
                )
            for one in (task, by_name[task.after]):
                if one.kind != "binary":
                    raise ValueError(
                        f"Task `{task.name}` comes after `{task.after}`, so both should be "
                        f"binary. Received: `{one.name}` is of kind {one.kind}"
                    )
    ordered: dict[str, Task] = {}
    while len(ordered) < len(tasks):
        ready = [
            task
            for task in tasks
            if task.name not in ordered and (task.after is None or task.after in ordered)
        ]
        if not ready:
            circle = [task.name for task in tasks if task.name not in ordered]
            raise ValueError(
                "`after` should lead from every task to one without. "
                f"Received: {', '.join(circle)} lead in a circle"
            )
        ordered |= {task.name: task for task in ready}
    return list(ordered.values())
