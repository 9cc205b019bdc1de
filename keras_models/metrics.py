"""Metrics of binary predictions, exact and in NumPy.

Each returns None where it is undefined, so that a cell with one class only is reported as "no
value" and never as a number that looks like a result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_LEAST_PROBABILITY = 1e-15


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half.

        AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P N), tied scores share a mean rank

    Args:
      labels: [B], 0 or 1.
      scores: [B], any numbers that order the examples.

    Returns:
      The AUC, or None where a class is missing.
    """
    labels, scores = _checked(labels, scores)
    _, tie, size = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(size) - (size - 1) / 2
    return _auc_of_ranks(int(labels.sum()), len(labels), float(mean_rank[tie[labels]].sum()))


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float | None:
    """Mean of the groups' AUCs, weighted by their examples.

        GAUC = sum_u n_u AUC_u / sum_u n_u, over groups u that have both classes

    Args:
      labels: [B], 0 or 1.
      scores: [B].
      groups: [B], for example users; any type that sorts.

    Returns:
      The GAUC, or None where no group has both classes.

    Reference: Zhou et al., "Deep Interest Network", KDD 2018, section 6.
    """
    labels, scores = _checked(labels, scores)
    groups = np.asarray(groups)
    if groups.shape != labels.shape:
        raise ValueError(
            f"`groups` should have the shape of `labels`, {labels.shape}. Received: {groups.shape}"
        )
    if not len(labels):
        return None
    _, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, group))
    group, scores, labels = group[order], scores[order], labels[order]
    new_group = np.r_[True, group[1:] != group[:-1]]
    starts = np.flatnonzero(new_group)
    examples = np.diff(np.r_[starts, len(group)])
    new_tie = new_group | np.r_[True, scores[1:] != scores[:-1]]
    ties = np.flatnonzero(new_tie)
    size = np.diff(np.r_[ties, len(group)])
    in_group = np.cumsum(new_tie) - 1
    mean_rank = (ties + (size + 1) / 2)[in_group] - np.repeat(starts, examples)
    positives = np.add.reduceat(labels.astype(np.int64), starts)
    ranks = np.add.reduceat(mean_rank * labels, starts)
    pairs = positives * (examples - positives)
    both = pairs > 0
    if not both.any():
        return None
    each = (ranks - positives * (positives + 1) / 2)[both] / pairs[both]
    return float(np.average(each, weights=examples[both]))


def logloss(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean binary cross-entropy, -mean(y log p + (1 - y) log(1 - p)).

    Probabilities are kept 1e-15 away from 0 and 1.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The loss in nats, or None where there are no examples.
    """
    labels, probabilities = _checked(labels, probabilities)
    if not len(labels):
        return None
    p = np.clip(probabilities, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-np.mean(np.where(labels, np.log(p), np.log1p(-p))))


def calibration(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean prediction over mean label; 1 is right on average, above 1 predicts too much.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The ratio, or None where there is no positive.
    """
    labels, probabilities = _checked(labels, probabilities)
    if not labels.any():
        return None
    return float(probabilities.mean() / labels.mean())


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Log-loss over that of always predicting the mean label; below 1 is better than the mean.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The ratio, or None where a class is missing.

    Reference: He et al., "Practical lessons from predicting clicks on ads at Facebook", ADKDD 2014.
    """
    labels, probabilities = _checked(labels, probabilities)
    loss = logloss(labels, probabilities)
    if loss is None or labels.all() or not labels.any():
        return None
    mean = labels.mean()
    return loss / float(-mean * np.log(mean) - (1 - mean) * np.log1p(-mean))


def _auc_of_ranks(positives: int, examples: int, rank_sum: float) -> float | None:
    negatives = examples - positives
    if not positives or not negatives:
        return None
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _checked(labels: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    values = np.asarray(values, np.float64)
    if labels.ndim != 1 or labels.shape != values.shape:
        raise ValueError(
            "labels and predictions should be vectors of one length. "
            f"Received: shapes {labels.shape} and {values.shape}"
        )
    positive = labels == 1
    if not np.all(positive | (labels == 0)):
        raise ValueError("labels should be 0 or 1. Received: other values among them")
    if np.isnan(values).any():
        raise ValueError(f"predictions should be numbers. Received: {np.isnan(values).sum()} NaN")
    return positive, values
