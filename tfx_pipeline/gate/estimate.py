"""A metric's value with its noise, by kind of task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from keras_models.metrics import LEAST_PROBABILITY, ndcg_by_group
from tfx_pipeline.gate.bootstrap import UserBootstrap, ratio
from transforms.task_labels import LabelKind

_MOST_UNDEFINED = 0.05
"""Share of the draws in which a metric may be undefined, before its noise is unknown."""


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of metrics, of a cell.

    Args:
      draws: The value, then that of each draw of the bootstrap, [1 + D].
      degrees: Degrees of freedom of its standard error.
    """

    draws: np.ndarray
    degrees: float

    @property
    def value(self) -> float | None:
        """None where it is undefined."""
        return float(self.draws[0]) if np.isfinite(self.draws[0]) else None

    @property
    def standard_error(self) -> float:
        """The draws' standard deviation; infinite where they do not tell it."""
        defined = self.draws[1:][np.isfinite(self.draws[1:])]
        if self.degrees < 1 or len(defined) < (1 - _MOST_UNDEFINED) * (len(self.draws) - 1):
            return float("inf")
        return float(np.std(defined, ddof=1))

    def interval(self, least: float = -np.inf, most: float = np.inf) -> list[float] | None:
        """95% interval, value +- t se, cut to the metric's range; None where noise is unknown."""
        error = self.standard_error
        if self.value is None or not np.isfinite(error):
            return None
        margin = float(t.isf(0.025, self.degrees)) * error
        return [max(least, self.value - margin), min(most, self.value + margin)]

    def minus(self, other: Estimate) -> Estimate:
        """The difference, draw by draw."""
        return Estimate(self.draws - other.draws, min(self.degrees, other.degrees))


def estimates(
    kind: LabelKind,
    bootstrap: UserBootstrap,
    rows: np.ndarray,
    labels: np.ndarray,
    outputs: np.ndarray,
    requests: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """The metrics of one task over the rows of a cell; see `keras_models.metrics` for each.

    Args:
      kind: The task's.
      bootstrap: Of all R rows.
      rows: Which of them are the cell's, bool or index [R] or [B].
      labels: Of all rows, [R]; those of the cell's rows are numbers.
      outputs: Likewise what the model says, [R], of a multiclass task [R, C]; finite.
      requests: Likewise the request of each row, for the NDCG of a ranking task.

    Returns:
      By name: of a binary task auc, gauc, logloss, normalized_entropy and calibration; of a
      ranking task auc, gauc and ndcg; of a regression mse; of a multiclass task logloss and
      accuracy.
    """
    user, label = bootstrap.user[rows], labels[rows]
    output = outputs[rows].astype(np.float64)
    own_degrees = {}
    if kind in ("binary", "ranking"):
        positive = label > 0
        found = {
            "auc": bootstrap.auc(user, positive, output),
            "gauc": bootstrap.gauc(user, positive, output),
        }
        degrees = min(effective_users(user[positive]), effective_users(user[~positive])) - 1
        # GAUC is a mean over the users who have both, who may be a few of them.
        both = has_both_classes(user, positive)
        own_degrees["gauc"] = effective_users(user[both]) - 1
        if kind == "binary":
            found |= _of_probabilities(bootstrap, user, positive, output)
        else:
            assert requests is not None
            found["ndcg"] = _ndcg(bootstrap, user, label, output, requests[rows])
    elif kind == "regression":
        found = _means(bootstrap, user, {"mse": (label - output) ** 2})
        degrees = effective_users(user) - 1
    else:
        chosen = output[np.arange(len(label)), label.astype(np.int64)]
        loss = -np.log(np.maximum(chosen, LEAST_PROBABILITY))
        right = output.argmax(axis=1) == label
        found = _means(bootstrap, user, {"logloss": loss, "accuracy": right})
        degrees = effective_users(user) - 1
    return {name: Estimate(draws, own_degrees.get(name, degrees)) for name, draws in found.items()}


def _of_probabilities(
    bootstrap: UserBootstrap, user: np.ndarray, positive: np.ndarray, output: np.ndarray
) -> dict[str, np.ndarray]:
    p = np.clip(output, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    loss = -np.where(positive, np.log(p), np.log1p(-p))
    columns = np.stack([np.ones(len(user)), positive, output, loss], axis=1)
    rows, positives, predicted, losses = bootstrap.sums(user, columns)
    mean = ratio(positives, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -mean * np.log(mean) - (1 - mean) * np.log1p(-mean)
    logloss = ratio(losses, rows)
    return {
        "logloss": logloss,
        "normalized_entropy": ratio(logloss, entropy),
        "calibration": ratio(predicted, positives),
    }


def _means(
    bootstrap: UserBootstrap, user: np.ndarray, columns: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    rows, *sums = bootstrap.sums(user, np.stack([np.ones(len(user)), *columns.values()], axis=1))
    return {name: ratio(column, rows) for name, column in zip(columns, sums, strict=True)}


def _ndcg(
    bootstrap: UserBootstrap,
    user: np.ndarray,
    relevance: np.ndarray,
    scores: np.ndarray,
    requests: np.ndarray,
) -> np.ndarray:
    judged, each = ndcg_by_group(relevance, scores, requests)
    if not len(requests):
        return bootstrap.sums(user, np.zeros([0, 1]))[0] * np.nan
    names, first = np.unique(requests, return_index=True)
    # A request is one user's.
    owner = user[first[np.searchsorted(names, judged)]]
    return _means(bootstrap, owner, {"ndcg": each})["ndcg"]


def has_both_classes(user: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Whether a row's user has positives and negatives, bool [B]."""
    number = np.bincount(user)
    positives = np.bincount(user[positive], minlength=len(number))
    return ((0 < positives) & (positives < number))[user]


def effective_users(user: np.ndarray) -> float:
    """Kish's effective number of users: (sum of n)^2 / sum of n^2, n the rows of each.

    A few users with most of the rows are few, however many others there are.
    """
    counts = np.bincount(user).astype(np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(user) else 0.0
