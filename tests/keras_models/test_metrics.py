"""Metrics against plain loops over pairs of examples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models import metrics
from keras_models.metrics import accuracy, class_logloss, mse, ndcg

# Few different scores, so that most examples have ties.
_ROWS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.05, 0.2, 0.2000001, 0.5, 0.9]), st.integers(0, 3)
    ),
    max_size=40,
)


def _columns(rows: list[tuple[int, float, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, scores, groups = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(labels, int), np.array(scores, float), np.array(groups, int)


def _plain_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    wins, pairs = 0.0, 0
    for positive in scores[labels == 1]:
        for negative in scores[labels == 0]:
            wins += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
            pairs += 1
    return wins / pairs if pairs else None


@settings(deadline=None)
@given(_ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, float, int]]) -> None:
    labels, scores, _ = _columns(rows)
    assert metrics.auc(labels, scores) == pytest.approx(_plain_auc(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(_ROWS)
def test_gauc_is_the_mean_over_users_weighted_by_examples(
    rows: list[tuple[int, float, int]],
) -> None:
    labels, scores, groups = _columns(rows)
    total, weight = 0.0, 0
    for group in set(groups.tolist()):
        members = groups == group
        value = _plain_auc(labels[members], scores[members])
        if value is not None:
            total += value * members.sum()
            weight += members.sum()
    expected = total / weight if weight else None
    assert metrics.gauc(labels, scores, groups) == pytest.approx(expected, abs=1e-12)
    as_bytes = groups.astype(str).astype("S")
    assert metrics.gauc(labels, scores, as_bytes) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(_ROWS)
def test_logloss_calibration_and_entropy(rows: list[tuple[int, float, int]]) -> None:
    labels, probabilities, _ = _columns(rows)
    n, positives = len(labels), int(labels.sum())
    loss = None
    if n:
        loss = (
            -sum(math.log(p if y else 1 - p) for y, p in zip(labels, probabilities, strict=True))
            / n
        )
    assert metrics.logloss(labels, probabilities) == pytest.approx(loss)
    calibration = sum(probabilities) / positives if positives else None
    assert metrics.calibration(labels, probabilities) == pytest.approx(calibration)
    entropy = None
    if loss is not None and 0 < positives < n:
        rate = positives / n
        entropy = loss / -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert metrics.normalized_entropy(labels, probabilities) == pytest.approx(entropy)


def test_by_hand() -> None:
    labels, scores = [1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1]
    assert metrics.auc(labels, scores) == 3.5 / 4
    assert metrics.gauc(labels, scores, ["a", "a", "a", "b"]) == 1.5 / 2
    assert metrics.calibration([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]) == 2.0
    assert metrics.normalized_entropy([1, 0], [0.5, 0.5]) == pytest.approx(1.0)


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0]])
def test_undefined_is_none(labels: list[int]) -> None:
    scores = [0.5] * len(labels)
    assert metrics.auc(labels, scores) is None
    assert metrics.gauc(labels, scores, labels) is None
    assert metrics.normalized_entropy(labels, scores) is None


def test_certain_and_wrong_is_finite() -> None:
    assert metrics.logloss([1, 0], [0.0, 1.0]) == pytest.approx(-math.log(1e-15), abs=1e-2)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"one length. Received: shapes \(2,\) and \(3,\)"):
        metrics.auc([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="0 or 1. Received: 2 and 1 more"):
        metrics.auc([0, 2, 3], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="Received: 1 NaN"):
        metrics.logloss([0, 1], [0.1, float("nan")])
    with pytest.raises(ValueError, match="groups should have the labels' shape"):
        metrics.gauc([0, 1], [0.1, 0.2], [1])


def test_ndcg_by_hand() -> None:
    # Gains 3, 0, 1 in the order of the scores 0, 3, 1: discounts 1, 1/log2(3), 1/2.
    dcg, best = 0 + 3 / np.log2(3) + 1 / 2, 3 + 1 / np.log2(3)
    first = ndcg([2, 0, 1], [0.5, 0.9, 0.1], [1, 1, 1])
    assert first == pytest.approx(dcg / best)
    # A list of equals says nothing, and one in perfect order is 1.
    both = ndcg([2, 0, 1, 1, 1, 0, 1], [0.5, 0.9, 0.1, 1, 2, 1, 2], list("aaabbcc"))
    assert both == pytest.approx((dcg / best + 1) / 2)
    assert ndcg([1, 1, 0], [1, 2, 3], [1, 1, 2]) is None
    assert ndcg([], [], []) is None


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_ndcg_is_that_of_a_random_order_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance, score = rng.integers(0, 3, 5), rng.integers(0, 2, 5)
    orders = [
        order for order in itertools.permutations(range(5)) if (np.diff(score[[*order]]) <= 0).all()
    ]
    discount = 1 / np.log2(np.arange(5) + 2)
    dcg = np.mean([((2.0 ** relevance[[*order]] - 1) * discount).sum() for order in orders])
    best = ((2.0 ** np.sort(relevance)[::-1] - 1) * discount).sum()
    value = ndcg(relevance, score, np.zeros(5))
    if len(set(relevance)) == 1:
        assert value is None
    else:
        assert value == pytest.approx(dcg / best)


def test_losses_by_hand() -> None:
    assert mse([1.0, 2.0], [0.0, 4.0]) == 2.5
    classes = [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]
    assert class_logloss([0, 1], classes) == pytest.approx(-np.log(0.5 * 0.2) / 2)
    assert accuracy([0, 1], classes) == 0.5
    assert np.isfinite(class_logloss([2], classes[:1]))
    none = np.zeros((0, 3))
    assert mse([], []) is class_logloss([], none) is accuracy([], none) is None
    with pytest.raises(ValueError, match=r"shapes \[B\] and \[B, C\]. Received: \(2,\) and"):
        class_logloss([0, 1], [[0.5, 0.5]])
