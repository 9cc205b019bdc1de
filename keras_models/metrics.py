"""Metrics of predictions, exact and in NumPy; those without another note are of binary ones.

Each returns None where it is undefined, as AUC is where a class is missing. A cell of few rows may
well be so: that is no error, and no number could stand for it without looking like a result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST_PROBABILITY = 1e-15
"""Log losses keep probabilities so far from 0 and 1."""


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half.

        AUC = sum over positives of (negatives below it + half of those tied with it) / (P N)

    Args:
      labels: [B], 0 or 1.
      scores: [B], any numbers that order the examples.

    Returns:
      The AUC, or None where a class is missing.
    """
    positive, score = _checked(labels, scores)
    of_positives, of_negatives = np.sort(score[positive]), np.sort(score[~positive])
    if not len(of_positives) or not len(of_negatives):
        return None
    below = np.searchsorted(of_negatives, of_positives, "left")
    not_above = np.searchsorted(of_negatives, of_positives, "right")
    return float((below.mean() + not_above.mean()) / 2 / len(of_negatives))


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float | None:
    """Mean of the groups' AUCs, weighted by their examples.

        GAUC = sum_u n_u AUC_u / sum_u n_u, over groups u that have both classes,
        AUC_u = (sum of the positives' ranks - P (P + 1) / 2) / (P N), ties share a mean rank

    Args:
      labels: [B], 0 or 1.
      scores: [B].
      groups: [B], for example users; any type that sorts.

    Returns:
      The GAUC, or None where no group has both classes.

    Reference: Zhou et al., "Deep Interest Network", KDD 2018, section 6.
    """
    _, each, examples = auc_by_group(labels, scores, groups)
    return float(np.average(each, weights=examples)) if len(each) else None


def auc_by_group(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The AUC within each group; see `gauc`.

    Args:
      labels: [B], 0 or 1.
      scores: [B].
      groups: [B], any type that sorts.

    Returns:
      The G groups that have both classes, ascending, their AUCs and their numbers of examples.
    """
    positive, score = _checked(labels, scores)
    if np.shape(groups) != positive.shape:
        raise ValueError(
            f"groups should have the labels' shape, {positive.shape}. Received: {np.shape(groups)}"
        )
    names, group = np.unique(groups, return_inverse=True)
    if not len(positive):
        return names, np.zeros(0), np.zeros(0, np.int64)
    order = np.lexsort((score, group))
    group, score, positive = group[order], score[order], positive[order]
    # Sorted so, a group is a run of rows and tied scores are a run within it.
    new_group = np.r_[True, group[1:] != group[:-1]]
    new_tie = new_group | np.r_[True, score[1:] != score[:-1]]
    starts, ties = np.flatnonzero(new_group), np.flatnonzero(new_tie)
    examples = np.diff(np.r_[starts, len(group)])
    tied = np.diff(np.r_[ties, len(group)])
    rank: np.ndarray = np.repeat(ties + (tied + 1) / 2, tied) - np.repeat(starts, examples)
    positives = np.add.reduceat(positive, starts, dtype=np.int64)
    rank_sum = np.add.reduceat(rank * positive, starts)
    pairs = positives * (examples - positives)
    both = pairs > 0
    each = (rank_sum - positives * (positives + 1) / 2)[both] / pairs[both]
    return names[both], each, examples[both]


def logloss(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean binary cross-entropy, -mean(y log p + (1 - y) log(1 - p)).

    Probabilities are kept 1e-15 away from 0 and 1.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The loss in nats, or None where there are no examples.
    """
    positive, probability = _checked(labels, probabilities)
    if not len(positive):
        return None
    p = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return float(-np.mean(np.where(positive, np.log(p), np.log1p(-p))))


def calibration(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean prediction over mean label; 1 is right on average, above 1 predicts too much.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The ratio, or None where there is no positive.
    """
    positive, probability = _checked(labels, probabilities)
    if not positive.any():
        return None
    return float(probability.mean() / positive.mean())


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Log-loss over that of always predicting the mean label; below 1 is better than the mean.

    Args:
      labels: [B], 0 or 1.
      probabilities: [B], in [0, 1].

    Returns:
      The ratio, or None where a class is missing.

    Reference: He et al., "Practical lessons from predicting clicks on ads at Facebook", ADKDD 2014.
    """
    positive, probability = _checked(labels, probabilities)
    loss = logloss(positive, probability)
    if loss is None or positive.all() or not positive.any():
        return None
    mean = positive.mean()
    return loss / float(-mean * np.log(mean) - (1 - mean) * np.log1p(-mean))


def ndcg(relevance: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float | None:
    """Mean over groups of the normalised discounted cumulative gain of the whole list.

        DCG = sum_i (2^y_i - 1) d(rank of i), d(r) = 1 / log2(r + 1);  NDCG = DCG / highest DCG

    over groups with unequal relevance. Tied scores share the mean of their ranks' discounts, what a
    random order among them has on average.

    Args:
      relevance: y, [B], at least 0.
      scores: [B].
      groups: [B], for example requests; any type that sorts.

    Returns:
      The NDCG, or None where no group has unequal relevance.

    References: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005 (the gain);
    McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in the
    Presence of Tied Scores", ECIR 2008.
    """
    _, each = ndcg_by_group(relevance, scores, groups)
    return float(np.mean(each)) if len(each) else None


def ndcg_by_group(
    relevance: ArrayLike, scores: ArrayLike, groups: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """The NDCG of each group; see `ndcg`.

    Args:
      relevance: [B], at least 0.
      scores: [B].
      groups: [B], any type that sorts.

    Returns:
      The G groups that have unequal relevance, ascending, and their NDCGs.
    """
    gain, score = np.exp2(np.asarray(relevance, np.float64)) - 1, np.asarray(scores, np.float64)
    names, group = np.unique(groups, return_inverse=True)
    if not len(gain):
        return names, np.zeros(0)
    highest = _discounted(gain, gain, group)
    # As in a list of equal gains, the lowest order has no other DCG than the highest.
    uneven = highest > _discounted(gain, -gain, group)
    return names[uneven], _discounted(gain, score, group)[uneven] / highest[uneven]


def _discounted(gain: np.ndarray, score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """DCG of every group."""
    order = np.lexsort((-score, group))
    gain, score, group = gain[order], score[order], group[order]
    new_group = np.r_[True, group[1:] != group[:-1]]
    new_tie = new_group | np.r_[True, score[1:] != score[:-1]]
    starts, ties = np.flatnonzero(new_group), np.flatnonzero(new_tie)
    rank = np.arange(len(gain)) - np.repeat(starts, np.diff(np.r_[starts, len(gain)])) + 1
    tied = np.diff(np.r_[ties, len(gain)])
    discount = np.repeat(np.add.reduceat(1 / np.log2(rank + 1), ties) / tied, tied)
    return np.add.reduceat(gain * discount, starts)


def mse(labels: ArrayLike, predictions: ArrayLike) -> float | None:
    """Mean squared error of a regression.

    Args:
      labels: [B], any numbers.
      predictions: [B].

    Returns:
      The error, or None where there are no examples.
    """
    errors = np.asarray(labels, np.float64) - np.asarray(predictions, np.float64)
    return float(np.mean(errors**2)) if errors.size else None


def class_logloss(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean cross-entropy of classes; probabilities are kept 1e-15 away from 0.

    Args:
      labels: [B], the class of each example.
      probabilities: [B, C].

    Returns:
      The loss in nats, or None where there are no examples.
    """
    chosen = _of_class(labels, probabilities)
    return float(-np.mean(np.log(np.maximum(chosen, LEAST_PROBABILITY)))) if chosen.size else None


def accuracy(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Share of examples whose class is the most probable one; of equals the first.

    Args:
      labels: [B], the class of each example.
      probabilities: [B, C].

    Returns:
      The share, or None where there are no examples.
    """
    label = np.asarray(labels)
    right = np.argmax(probabilities, axis=1) == label if label.size else label
    return float(np.mean(right)) if right.size else None


def _of_class(labels: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    label, probability = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    if label.ndim != 1 or probability.ndim != 2 or len(label) != len(probability):
        raise ValueError(
            "labels and probabilities should have shapes [B] and [B, C]. "
            f"Received: {label.shape} and {probability.shape}"
        )
    return probability[np.arange(len(label)), label]


def _checked(labels: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Boolean labels and float64 values."""
    label, value = np.asarray(labels), np.asarray(values, np.float64)
    if label.ndim != 1 or label.shape != value.shape:
        raise ValueError(
            "labels and predictions should be vectors of one length. "
            f"Received: shapes {label.shape} and {value.shape}"
        )
    positive = label == 1
    if not np.all(positive | (label == 0)):
        wrong = label[~(positive | (label == 0))]
        raise ValueError(f"labels should be 0 or 1. Received: {wrong[0]} and {len(wrong) - 1} more")
    if np.isnan(value).any():
        raise ValueError(f"predictions should be numbers. Received: {np.isnan(value).sum()} NaN")
    return positive, value
