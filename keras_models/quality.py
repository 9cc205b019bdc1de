"""One number a task that says how good predictions are; the higher the better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_models import metrics
from keras_models.tasks import Task, logit_columns


def qualities(
    tasks: Sequence[Task],
    labels: np.ndarray,
    logits: np.ndarray,
    spaces: np.ndarray | None = None,
) -> dict[str, float | None]:
    """How good predictions are, to choose the best of several models of the same tasks by.

    The AUC of a binary task, and of a ranking task that of what is relevant (label > 0);
    R^2 = 1 - MSE / variance of a regression; the accuracy of a multiclass task.

    Args:
      tasks: K tasks.
      labels: [B, K].
      logits: [B, L], what labels are compared with.
      spaces: [B, K], 1 where an example is in the task's sample space; None for everywhere.

    Returns:
      By task; None where it is not defined, as AUC is with one class.
    """
    columns = logit_columns(tasks)
    found = {}
    for k, task in enumerate(tasks):
        inside = slice(None) if spaces is None else spaces[:, k] > 0
        found[task.name] = _quality(task, labels[inside, k], logits[inside, columns[task.name]])
    return found


def _quality(task: Task, labels: np.ndarray, logits: np.ndarray) -> float | None:
    if not len(labels):
        return None
    if task.kind == "multiclass":
        return float(np.mean(np.argmax(logits, axis=1) == labels))
    if task.kind == "regression":
        variance = np.var(labels, dtype=np.float64)
        error = np.mean(np.square(labels - logits[:, 0]), dtype=np.float64)
        return float(1 - error / variance) if variance > 0 else None
    return metrics.auc(labels > 0, logits[:, 0])
