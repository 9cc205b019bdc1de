"""The bootstrap against rows that are drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models import metrics
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.estimate import estimates

DRAWS = 70
"""More than are computed at once."""


@st.composite
def logs(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Few users and few scores, so that there are ties, users drawn never, and single classes."""
    rows = draw(st.integers(1, 40))
    column = lambda values: np.array(draw(st.lists(values, min_size=rows, max_size=rows)))  # noqa: E731
    return {
        "users": column(st.integers(0, draw(st.integers(0, 6)))),
        "positive": column(st.booleans()),
        "scores": column(st.sampled_from([0.1, 0.25, 0.5, 0.5000001, 0.9])),
        "values": column(st.integers(0, 2)).astype(float),
        "requests": column(st.integers(0, 4)),
    }


def times_drawn(bootstrap: UserBootstrap) -> np.ndarray:
    """How often each row counts in each draw, [1 + D, R]; asked of the sums of single rows."""
    rows = len(bootstrap.user)
    return np.stack(
        [bootstrap.sums(bootstrap.user[[i]], np.ones([1, 1]))[0] for i in range(rows)], axis=1
    ).astype(int)


def same(found: np.ndarray, expected: list[float | None]) -> None:
    values = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(logs())
def test_every_draw_equals_the_metric_of_its_rows(log: dict[str, np.ndarray]) -> None:
    bootstrap = UserBootstrap(log["users"], DRAWS)
    positive, scores = log["positive"], log["scores"]
    drawn = [np.repeat(np.arange(len(positive)), times) for times in times_drawn(bootstrap)]
    assert len(drawn) == 1 + DRAWS
    assert drawn[0].tolist() == list(range(len(positive)))
    auc = bootstrap.auc(bootstrap.user, positive, scores)
    same(auc, [metrics.auc(positive[rows], scores[rows]) for rows in drawn])
    # A user who is drawn twice weighs double, as one user.
    weights = times_drawn(bootstrap)
    names, each, rows_of = metrics.auc_by_group(positive, scores, log["users"])
    expected: list[float | None] = []
    for times in weights:
        w = [n * times[log["users"] == u][0] for u, n in zip(names, rows_of, strict=True)]
        expected.append(np.average(each, weights=w) if sum(w) else None)
    same(bootstrap.gauc(bootstrap.user, positive, scores), expected)


def test_no_rows_have_no_auc() -> None:
    bootstrap = UserBootstrap(np.zeros(1), DRAWS)
    nothing = np.zeros(0)
    found = bootstrap.auc(nothing.astype(int), nothing.astype(bool), nothing)
    assert found.shape == (1 + DRAWS,) and np.isnan(found).all()


@settings(max_examples=30, deadline=None)
@given(logs())
def test_estimates_of_every_kind_equal_the_metrics(log: dict[str, np.ndarray]) -> None:
    bootstrap = UserBootstrap(log["users"], 3)
    inside = np.flatnonzero(log["requests"] < 4)
    drawn = [
        inside[np.repeat(np.arange(len(inside)), times[inside])] for times in times_drawn(bootstrap)
    ]
    positive, scores, values = log["positive"], log["scores"], log["values"]
    found = estimates("binary", bootstrap, inside, positive.astype(float), scores)
    for name in ("logloss", "calibration", "normalized_entropy"):
        metric = getattr(metrics, name)
        same(found[name].draws, [metric(positive[rows], scores[rows]) for rows in drawn])
    found = estimates("regression", bootstrap, inside, values, scores)
    same(found["mse"].draws, [metrics.mse(values[rows], scores[rows]) for rows in drawn])
    classes = np.stack([scores, 1 - scores, scores / 2], axis=1)
    found = estimates("multiclass", bootstrap, inside, values, classes)
    for name, metric in (("logloss", metrics.class_logloss), ("accuracy", metrics.accuracy)):
        same(found[name].draws, [metric(values[rows], classes[rows]) for rows in drawn])
    found = estimates("ranking", bootstrap, inside, values, scores, log["requests"])
    same(found["auc"].draws, [metrics.auc(values[rows] > 0, scores[rows]) for rows in drawn])
    expected = metrics.ndcg(values[inside], scores[inside], log["requests"][inside])
    same(found["ndcg"].draws[:1], [expected])


def test_the_rows_order_does_not_change_a_draw() -> None:
    rng = np.random.default_rng(0)
    users, positive, scores = rng.integers(9, size=80), rng.random(80) < 0.4, rng.random(80)
    order = rng.permutation(80)
    one, other = UserBootstrap(users, DRAWS), UserBootstrap(users[order], DRAWS)
    np.testing.assert_allclose(
        one.auc(one.user, positive, scores),
        other.auc(other.user, positive[order], scores[order]),
        rtol=1e-12,
    )


def test_equal_models_differ_by_nothing_in_every_draw() -> None:
    rng = np.random.default_rng(0)
    labels, scores = (rng.random(500) < 0.3).astype(float), rng.random(500)
    bootstrap = UserBootstrap(rng.integers(60, size=500), DRAWS)
    first, second = (
        estimates("binary", bootstrap, np.arange(500), labels, s) for s in (scores, scores.copy())
    )
    for name, estimate in first.items():
        assert not estimate.minus(second[name]).draws.any()


def test_one_user_tells_no_noise() -> None:
    labels, scores = np.array([0.0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])
    found = estimates("binary", UserBootstrap(["a"] * 4, DRAWS), np.arange(4), labels, scores)
    assert found["auc"].value == 0.75
    assert found["auc"].standard_error == np.inf and found["auc"].interval() is None


def test_gauc_is_as_certain_as_the_users_who_have_both_classes() -> None:
    """100 users like nothing, 100 everything; one has 4 rows of both, one 2."""
    users = np.r_[np.arange(200), [200] * 4, [201] * 2]
    labels = np.r_[np.zeros(100), np.ones(100), [0, 1, 0, 1, 0, 1]]
    scores = np.linspace(0, 1, len(users))
    found = estimates("binary", UserBootstrap(users, DRAWS), np.arange(206), labels, scores)
    assert found["gauc"].degrees == pytest.approx((4 + 2) ** 2 / (4**2 + 2**2) - 1)
    # Positives and negatives are alike: 100 users with one, one with two, one with one.
    assert found["auc"].degrees == pytest.approx(103**2 / (100 + 2**2 + 1) - 1)


def test_the_standard_error_is_the_spread_over_fresh_logs() -> None:
    """Users who differ make a log's AUC less certain than its rows; the bootstrap knows it."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(150), 8)
    values, errors, alone = [], [], []
    for _ in range(60):
        of_user = 1.5 * rng.normal(size=150)[users]
        scores = rng.normal(size=len(users)) + of_user
        labels = rng.random(len(users)) < 1 / (1 + np.exp(-scores))
        bootstrap = UserBootstrap(users, 100)
        found = estimates("binary", bootstrap, np.arange(len(users)), labels * 1.0, of_user)
        values.append(found["auc"].value)
        errors.append(found["auc"].standard_error)
        rows = UserBootstrap(np.arange(len(users)), 100)
        single = estimates("binary", rows, np.arange(len(users)), labels * 1.0, of_user)
        alone.append(single["auc"].standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
    assert np.mean(alone) < 0.85 * np.mean(errors)
