"""Training losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models.heads.log_probability import log_probabilities, log_product
from keras_models.ranking_losses import listwise_softmax, pairwise_logistic
from keras_models.tasks import Task, logit_columns, read_tasks

Weighting = Literal["fixed", "uncertainty"]

KlBound = tuple[str, str, str, float]
"""Tasks a, b and c with P(a) P(b) = P(c), and the weight of the bound."""


class TaskLosses(keras.layers.Layer):
    """The sum over tasks that training minimises, and bounds between them.

        L = sum_k w_k g_k^t U_k(L_k) + sum of KL bounds

    - L_k = sum_i d_i v_i l_i / sum_i d_i over the batch, d_i = 1 where example i is in the task's
      sample space, and 0 in all (U_k too) where no example is. With label y and logit z, l is
      binary: the cross-entropy max(z, 0) - z y + log(1 + exp(-|z|)); regression: (z - y)^2;
      multiclass: logsumexp(z) - z_y; ranking: see `ranking_losses`, where pairs or requests take
      the place of examples.
    - v_i is the weight of the example's scenario.
    - w_k is the task's weight and g_k its gamma; t counts epochs from 0, to `decay_epochs` - 1 at
      most, where it stays: a lineage that is trained on day after day would lose the task else.
    - U_k(L) = L with fixed weighting. With uncertainty weighting, s_k is trained from 0:
      U_k(L) = exp(-s_k) L + s_k / 2, for a regression exp(-s_k) L / 2 + s_k / 2.
    - A KL bound ties p = P(a) P(b) to q = P(c), for a, b, c as the labels see them:
      KL(p || q) + KL(q || p) = (p - q) (logit p - logit q) between the Bernoulli distributions, its
      mean over all examples, each times v_i.

    All in float32 whatever the policy is; finite for logits of up to 1e4.

    Args:
      tasks: K tasks with L logits together.
      weighting: `fixed`, or `uncertainty` for trained weights on top of the others.
      scenario_weights: v, one of M a scenario; see `scenario_weights`. None for 1.
      kl_bounds: Names of three binary tasks and a weight, each.
      decay_epochs: Epochs that differ in t; None for all.

    References: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020 (sample spaces, g);
    Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", CVPR 2018 (U); Zhou et al., "HiNet", ICDE 2023 (v).
    """

    def __init__(
        self,
        tasks: Sequence[Task | str | Mapping[str, Any]],
        *,
        weighting: Weighting = "fixed",
        scenario_weights: Sequence[float] | np.ndarray | None = None,
        kl_bounds: Sequence[KlBound] = (),
        decay_epochs: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.tasks = read_tasks(tasks)
        self.weighting = weighting
        self.decay_epochs = decay_epochs
        self.scenario_weights = None if scenario_weights is None else list(scenario_weights)
        self.kl_bounds: list[KlBound] = [(a, b, c, weight) for a, b, c, weight in kl_bounds]
        self._columns = logit_columns(self.tasks)
        if weighting not in get_args(Weighting):
            raise ValueError(
                f"`weighting` should be one of {', '.join(get_args(Weighting))}. "
                f"Received: {weighting}"
            )
        binary = [task.name for task in self.tasks if task.kind == "binary"]
        for bound in self.kl_bounds:
            names, weight = {*bound[:3]}, bound[3]
            if len(names) != 3 or not names <= set(binary) or not weight > 0:
                raise ValueError(
                    "A bound of `kl_bounds` should name three of the binary tasks "
                    f"({', '.join(binary)}) and a weight above 0. Received: {bound}"
                )
        if decay_epochs is not None and decay_epochs < 1:
            raise ValueError(f"`decay_epochs` should be at least 1. Received: {decay_epochs}")
        self._log_variances = None
        if weighting == "uncertainty":
            self._log_variances = self.add_weight(
                name="log_variances", shape=[len(self.tasks)], initializer="zeros"
            )

    def call(
        self,
        labels: tf.Tensor,
        logits: tf.Tensor,
        scenario: tf.Tensor,
        spaces: tf.Tensor | None = None,
        request: tf.Tensor | None = None,
        epoch: tf.Tensor | int = 0,
    ) -> tf.Tensor:
        """The sum to minimise.

        Args:
          labels: float32 [B, K], finite also where an example is not in a task's space.
          logits: float32 [B, L], from the head's `call`.
          scenario: int64 [B].
          spaces: float32 [B, K], d; None for 1 everywhere.
          request: int64 [B], which request an example belongs to; only read for ranking tasks.
          epoch: int64 scalar, epochs since the cold start: 0 in the first one.

        Returns:
          float32 scalar.
        """
        weights = self._example_weights(scenario)
        t = tf.cast(epoch, tf.float32)
        if self.decay_epochs is not None:
            t = tf.minimum(t, self.decay_epochs - 1.0)
        total = tf.zeros([])
        for k, task in enumerate(self.tasks):
            inside = tf.ones_like(weights) if spaces is None else spaces[:, k]
            loss, is_there = self._task_loss(task, labels[:, k], logits, request, inside, weights)
            if self._log_variances is not None:
                s = self._log_variances[k]
                scale = 0.5 if task.kind == "regression" else 1.0
                # Without an example to weigh against it, s / 2 would drive s down.
                loss = is_there * (scale * tf.exp(-s) * loss + 0.5 * s)
            total += task.weight * tf.pow(task.gamma, t) * loss
        for a, b, c, weight in self.kl_bounds:
            bound = symmetric_kl(*(self._logit(logits, name) for name in (a, b, c)))
            total += weight * tf.reduce_mean(weights * bound)
        return total

    def _task_loss(
        self,
        task: Task,
        labels: tf.Tensor,
        logits: tf.Tensor,
        request: tf.Tensor | None,
        inside: tf.Tensor,
        weights: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """L_k, and whether it has an example, 1 or 0."""
        if task.kind == "ranking":
            if request is None:
                raise ValueError(
                    f"`request` should tell the requests apart, for task `{task.name}` ranks within"
                    " them. Received: None"
                )
            of_order = pairwise_logistic if task.ranking_loss == "pairwise" else listwise_softmax
            return of_order(labels, self._logit(logits, task.name), request, inside, weights)
        if task.kind == "multiclass":
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.cast(labels, tf.int64), logits[:, self._columns[task.name]]
            )
        elif task.kind == "regression":
            losses = tf.square(self._logit(logits, task.name) - labels)
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, self._logit(logits, task.name))
        examples = tf.reduce_sum(inside)
        mean = tf.math.divide_no_nan(tf.reduce_sum(inside * weights * losses), examples)
        return mean, tf.minimum(examples, 1.0)

    def _logit(self, logits: tf.Tensor, name: str) -> tf.Tensor:
        return logits[:, self._columns[name].start]

    def _example_weights(self, scenario: tf.Tensor) -> tf.Tensor:
        """Weight of each example, float32 [B]."""
        if self.scenario_weights is None:
            return tf.ones_like(scenario, tf.float32)
        return tf.gather(tf.constant(self.scenario_weights, tf.float32), scenario)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "tasks": [asdict(task) for task in self.tasks],
            "weighting": self.weighting,
            "scenario_weights": self.scenario_weights,
            "kl_bounds": self.kl_bounds,
            "decay_epochs": self.decay_epochs,
        }


def symmetric_kl(first: tf.Tensor, second: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """KL(p || q) + KL(q || p) of Bernoulli p = sigmoid(a) sigmoid(b) and q = sigmoid(c).

        (p - q) (logit p - logit q)

    Args:
      first: a, float32 [B].
      second: b, float32 [B].
      whole: c, float32 [B].

    Returns:
      float32 [B].
    """
    is_so, is_not = log_product(log_probabilities(first), log_probabilities(second))
    product = is_so - is_not
    # Where both are near 1, what they lack of it differs more exactly.
    difference = tf.where(
        product + whole > 0,
        tf.sigmoid(-whole) - tf.sigmoid(-product),
        tf.sigmoid(product) - tf.sigmoid(whole),
    )
    return difference * (product - whole)


def scenario_weights(counts: Sequence[int], cap: float | None = None) -> np.ndarray:
    """Weights that make small scenarios count as much as large ones, up to a cap.

        v_i = min(c / n_i, cap), with the c for which sum_i n_i v_i = sum_i n_i

    So the mean weight over examples is 1, none is above the cap, and what a cap takes from small
    scenarios goes to the others in equal sums: capping and rescaling until both hold.

    Args:
      counts: n, training examples of each of M scenarios.
      cap: At least 1; None for no cap. With 1 all weights are 1.

    Returns:
      float32 [M]; 1 for a scenario without examples.

    Reference: Zhou et al., "HiNet", ICDE 2023, lambda_i = 1 / |D_i|.
    """
    examples = np.asarray(counts, np.float64)
    if examples.ndim != 1 or not (examples >= 0).all():
        raise ValueError(f"`counts` should be at least 0 each. Received: {counts}")
    if cap is not None and not cap >= 1:
        raise ValueError(
            f"`cap` should be at least 1, the mean weight over examples. Received: {cap}"
        )
    weights = np.ones(len(examples))
    left, free = examples.sum(), examples > 0
    while free.any():
        weights[free] = left / free.sum() / examples[free]
        above = free & (weights > (np.inf if cap is None else cap))
        if not above.any():
            break
        weights[above] = cap
        left -= (examples * weights)[above].sum()
        free &= ~above
    return weights.astype(np.float32)
