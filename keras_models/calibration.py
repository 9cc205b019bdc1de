"""Calibration of logits on days that training did not learn.

What adds up on the training rows may not on new ones: a model that knows its training rows by heart
is too sure elsewhere. Platt scaling mends both the sum and the sureness,

    z' = a z + b,    a > 0

with one (a, b) a task, or one a task and scenario, so that within a task, or within a task and
scenario, no two rows change places.

Reference: Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized
Likelihood Methods", Advances in Large Margin Classifiers, 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
import tf_keras as keras
from scipy.optimize import minimize

from keras_models.tasks import Task, logit_columns

Groups = Literal["task", "task_and_scenario"]

TASK_PRIOR = (0.3, 1.0)
"""Standard deviations of the normal priors of log a, around 0, and of b, around 0, of a task: some
tens of positives outweigh that of b."""

SCENARIO_PRIOR = (0.1, 0.2)
"""Likewise of a scenario, around what the task has: 25 positives move b half of the way."""


class Calibration(keras.layers.Layer):
    """Scales and shifts logits, by scenario; leaves them until it is given what to do.

    No gradient reaches its weights, and training does not go through it.

    Args:
      num_scenarios: M.
      num_logits: L.
      groups: Whether the scenarios of a task have one (a, b) or each its own.
    """

    def __init__(self, num_scenarios: int, num_logits: int, *, groups: Groups, **kwargs: object):
        super().__init__(autocast=False, **kwargs)
        self.groups = groups
        shape = [num_scenarios, num_logits]
        self._slopes, self._shifts = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                dtype="float32",
                trainable=False,
                experimental_autocast=False,
            )
            for name, initializer in (("slopes", "ones"), ("shifts", "zeros"))
        )

    def call(self, logits: tf.Tensor, scenario: tf.Tensor) -> tf.Tensor:
        """Calibrated logits, float32 [B, L].

        Args:
          logits: float32 [B, L].
          scenario: int64 [B], or [1] for all.
        """
        slopes, shifts = (tf.gather(w, scenario) for w in (self._slopes, self._shifts))
        return slopes * logits + shifts

    def assign(self, slopes: np.ndarray, shifts: np.ndarray) -> None:
        """Sets a and b, float32 [M, L] each."""
        self._slopes.assign(slopes)
        self._shifts.assign(shifts)


def fit_calibration(
    tasks: Sequence[Task],
    logits: np.ndarray,
    labels: np.ndarray,
    scenario: np.ndarray,
    *,
    num_scenarios: int,
    groups: Groups,
    spaces: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable a and b of the binary tasks, given labels of other days.

    Args:
      tasks: K tasks with L logits together.
      logits: float32 [B, L], of the network: of P(k | j) where k comes after j.
      labels: float32 [B, K].
      scenario: int64 [B].
      num_scenarios: M.
      groups: What has an (a, b) of its own.
      spaces: float32 [B, K], 1 where a row is in a task's sample space; None for everywhere.

    Returns:
      Slopes and shifts, float32 [M, L]; 1 and 0 for tasks of other kinds, and for those without
      both classes in the rows. A scenario without rows has those of its task.
    """
    columns, places = logit_columns(tasks), {task.name: k for k, task in enumerate(tasks)}
    slopes = np.ones([num_scenarios, logits.shape[1]], np.float32)
    shifts = np.zeros_like(slopes)
    probabilities: dict[str, np.ndarray] = {}
    left = [task for task in tasks if task.kind == "binary"]
    while left:
        task = next(t for t in left if t.after is None or t.after in probabilities)
        left.remove(task)
        z = logits[:, columns[task.name]][:, 0].astype(np.float64)
        y = labels[:, places[task.name]] > 0
        parent = np.ones(len(z)) if task.after is None else probabilities[task.after]
        inside = np.ones(len(z), bool) if spaces is None else spaces[:, places[task.name]] > 0
        if len(np.unique(y[inside])) == 2:
            own = _fit(z[inside], y[inside], parent[inside], np.zeros(2), TASK_PRIOR)
            found = np.tile(own, (num_scenarios, 1))
            if groups == "task_and_scenario":
                for m in range(num_scenarios):
                    rows = inside & (scenario == m)
                    found[m] = _fit(z[rows], y[rows], parent[rows], own, SCENARIO_PRIOR)
            slopes[:, columns[task.name]] = np.exp(found[:, :1])
            shifts[:, columns[task.name]] = found[:, 1:]
        by_row = slopes[scenario, columns[task.name]], shifts[scenario, columns[task.name]]
        probabilities[task.name] = parent * _sigmoid(by_row[0].ravel() * z + by_row[1].ravel())
    return slopes, shifts


def _fit(
    z: np.ndarray,
    y: np.ndarray,
    parent: np.ndarray,
    center: np.ndarray,
    deviations: tuple[float, float],
) -> np.ndarray:
    """The logarithm of a, and b, [2]."""
    if not len(z):
        return center
    precision = np.array(deviations) ** -2.0

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        a = np.exp(x[0])
        logit = a * z + x[1]
        p = parent * _sigmoid(logit)
        # log(1 - p) loses digits near 1 only where p itself says next to nothing.
        rest = np.maximum(1 - p, 1e-12)
        value = -np.sum(np.where(y, np.log(parent) - np.logaddexp(0, -logit), np.log(rest)))
        d_logit = np.where(y, -1.0, p / rest) * (1 - _sigmoid(logit))
        gradient = np.array([np.sum(d_logit * a * z), np.sum(d_logit)])
        away = x - center
        return value + 0.5 * np.sum(precision * away**2), gradient + precision * away

    return np.asarray(minimize(loss, center, jac=True, method="L-BFGS-B").x)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
