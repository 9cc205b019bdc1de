"""Offsets of the logits: the base rates before training, and what makes predictions add up after.

The intercept of a binary task that fits best makes the predictions on the training rows add up to
the labels. Steps on batches leave it where the last batches pushed it: a batch of 1,024 rows holds
some 15 positives of a task with 1.5% of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_models.tasks import Task, logit_columns

PRIOR_DEVIATION = 0.1
"""Standard deviation of the prior of a correction, around 0: a task with 10 positives keeps nearly
all of what training made of it, one with 1,000 takes nine tenths of the correction."""

_NEWTON_STEPS = 30
_LONGEST_STEP = 1.0
_TOLERANCE = 1e-6


def base_offsets(
    tasks: Sequence[Task], rows: Mapping[str, int], sums: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Logits of a model that knows nothing of an example.

    Args:
      tasks: K tasks with L logits together.
      rows: Of each task, rows that have its label.
      sums: Of each task, the sum of its labels, [1]; of a multiclass task rows by class, [C].

    Returns:
      float32 [L]: log odds of a binary task, given the one that it comes after; the mean of a
      regression; of a multiclass task logs of the classes' shares; 0 for a ranking task, whose
      scores are compared with each other only.
    """
    columns = logit_columns(tasks)
    offsets = np.zeros(sum(task.outputs for task in tasks), np.float32)
    for task in tasks:
        n, of_labels = rows[task.name], sums[task.name]
        if task.kind == "binary":
            within = float(sums[task.after][0]) if task.after is not None else n
            # Half a positive and half a negative more, so that no rate is 0 or 1.
            positives = min(float(of_labels[0]), within)
            offsets[columns[task.name]] = np.log((positives + 0.5) / (within - positives + 0.5))
        elif task.kind == "regression" and n:
            offsets[columns[task.name]] = of_labels[0] / n
        elif task.kind == "multiclass":
            shares = np.log((of_labels + 0.5) / (n + 0.5 * len(of_labels)))
            offsets[columns[task.name]] = shares - shares.mean()
    return offsets


def corrections(
    tasks: Sequence[Task],
    logits: np.ndarray,
    labels: np.ndarray,
    spaces: np.ndarray | None = None,
) -> np.ndarray:
    """What to add to the logits so that the probabilities of binary tasks add up to the labels.

        sum_b (y_b - P_b) = delta / PRIOR_DEVIATION^2,    P_b = P_b(parent) sigmoid(z_b + delta)

    over the rows of the task's space; P(parent) is 1 without one that the task comes after.

    Args:
      tasks: K tasks.
      logits: float32 [B, L], of the network: of P(k | j) where k comes after j.
      labels: float32 [B, K].
      spaces: float32 [B, K], 1 where a row is in a task's sample space; None for everywhere.

    Returns:
      float32 [L], 0 for tasks of other kinds.
    """
    columns = logit_columns(tasks)
    found = np.zeros(logits.shape[1], np.float32)
    probabilities: dict[str, np.ndarray] = {}
    places = {task.name: k for k, task in enumerate(tasks)}
    left = [task for task in tasks if task.kind == "binary"]
    while left:
        task = next(t for t in left if t.after is None or t.after in probabilities)
        left.remove(task)
        own = logits[:, columns[task.name]][:, 0].astype(np.float64)
        parent = 1.0 if task.after is None else probabilities[task.after]
        inside = np.ones(len(own)) if spaces is None else spaces[:, places[task.name]]
        positives = float(np.sum(inside * labels[:, places[task.name]]))
        delta = _root(own, parent * inside, positives)
        found[columns[task.name]] = delta
        probabilities[task.name] = parent * _sigmoid(own + delta)
    return found


def _root(logits: np.ndarray, weights: np.ndarray, positives: float) -> float:
    """Where the expected positives and the prior agree; falls in delta, so there is one place."""
    delta = 0.0
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(logits + delta)
        surplus = positives - float(np.sum(weights * p)) - delta / PRIOR_DEVIATION**2
        slope = float(np.sum(weights * p * (1 - p))) + PRIOR_DEVIATION**-2
        step = float(np.clip(surplus / slope, -_LONGEST_STEP, _LONGEST_STEP))
        delta += step
        if abs(step) < _TOLERANCE:
            break
    return delta


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
