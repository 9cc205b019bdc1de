"""How breaches are told from noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.config import GateConfig, Thresholds
from tfx_pipeline.gate.estimate import Estimate
from tfx_pipeline.gate.judge import Criterion, change_criteria, criteria, decide, holm

CELL = ("click", "feed")


def estimate(value: float, error: float = 0.0, degrees: float = 1e6, seed: int = 0) -> Estimate:
    """One with this standard error exactly."""
    noise = np.random.default_rng(seed).normal(size=400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return Estimate(np.r_[value, value + error * noise], degrees)


def criterion(excess: Estimate, kind: str = "change", today: float | None = None) -> Criterion:
    return Criterion(*CELL, "auc", kind, 0.5, excess, 0.05, 0.6, today=today)


def held(kind: str, thresholds: Thresholds, **values: tuple[float, float]) -> list[Criterion]:
    """Criteria of metrics, each given as (candidate's, baseline's)."""
    new = {name: estimate(pair[0], 0.01) for name, pair in values.items()}
    old = {name: estimate(pair[1], 0.01, seed=1) for name, pair in values.items()}
    changes = change_criteria(CELL, kind, thresholds, new, old)
    return [*criteria(CELL, kind, thresholds, new), *changes]


@pytest.mark.parametrize(
    ("name", "threshold", "kind", "metric", "pair", "limit", "excess"),
    [
        ("auc_floor", 0.6, "binary", "auc", (0.5, 0.7), 0.6, 0.1),
        ("gauc_floor", 0.6, "ranking", "gauc", (0.7, 0.7), 0.6, -0.1),
        ("max_logloss", 0.3, "multiclass", "logloss", (0.4, 0.4), 0.3, 0.1),
        ("max_normalized_entropy", 1.0, "binary", "normalized_entropy", (0.9, 1.0), 1.0, -0.1),
        ("max_auc_drop", 0.02, "binary", "auc", (0.65, 0.7), 0.68, 0.03),
        ("max_auc_drop_relative", 0.1, "ranking", "auc", (0.6, 0.7), 0.63, 0.03),
        ("max_gauc_drop", 0.0, "binary", "gauc", (0.75, 0.7), 0.7, -0.05),
        ("max_logloss_rise", 0.1, "binary", "logloss", (0.5, 0.4), 0.44, 0.06),
        ("max_loss_rise", 0.5, "regression", "mse", (2.0, 1.0), 1.5, 0.5),
        ("max_loss_rise", 0.5, "multiclass", "logloss", (2.0, 1.0), 1.5, 0.5),
    ],
)
def test_a_threshold_says_what_must_not_be_passed(
    name: str,
    threshold: float,
    kind: str,
    metric: str,
    pair: tuple[float, float],
    limit: float,
    excess: float,
) -> None:
    (found,) = held(kind, Thresholds(**{name: threshold}), **{metric: pair})
    assert found.metric == metric and found.value == pair[0]
    assert found.threshold == pytest.approx(limit)
    assert found.excess.value == pytest.approx(excess)
    assert found.baseline == (pair[1] if found.kind == "change" else None)
    # The other model's noise is in a change too; here both are drawn apart.
    error = found.excess.standard_error
    assert error > 0.012 if found.kind == "change" else error == pytest.approx(0.01)


def test_a_band_has_two_ends() -> None:
    low, high = held("binary", Thresholds(calibration_band=[0.5, 2]), calibration=(3.0, 1.0))
    assert (low.threshold, low.excess.value) == (0.5, -2.5)
    assert (high.threshold, high.excess.value) == (2.0, 1.0)


def test_what_nothing_can_breach_is_no_criterion() -> None:
    open_wide = Thresholds(auc_floor=0, gauc_floor=0, max_auc_drop=1, max_auc_drop_relative=1)
    assert held("binary", open_wide, auc=(0.5, 0.9), gauc=(0.5, 0.9)) == []
    assert held("regression", Thresholds(auc_floor=0.9, calibration_band=[1, 2]), mse=(1, 1)) == []


def test_without_a_baseline_nothing_changes() -> None:
    found = criteria(CELL, "binary", GateConfig(calibration_band=None), {"auc": estimate(0.6)})
    assert [c.kind for c in found] == ["floor"]


@pytest.mark.parametrize(
    ("value", "error", "outcome"),
    [
        (0.02, 0.005, "fails"),
        (0.02, 0.01, "holds"),  # 2 standard errors are noise among 20
        (0.02, 0.03, "open"),
        (0.2, 0.03, "fails"),  # however coarse, it is beyond
        (-0.2, 0.03, "holds"),  # and so is this, on the right side
        (0.0, 0.0, "holds"),
        (1e-9, 0.0, "fails"),
        (-1e-9, 0.0, "holds"),
    ],
)
def test_a_breach_counts_beyond_the_noise_of_all(value: float, error: float, outcome: str) -> None:
    others = [criterion(estimate(-0.1, 0.001)) for _ in range(19)]
    decisions = decide([*others, criterion(estimate(value, error))], 0.95)
    assert [d.outcome for d in decisions] == ["holds"] * 19 + [outcome]
    # 1 - 0.05 / 20 of the normal distribution.
    assert decisions[-1].noise == pytest.approx(2.807 * error, abs=1e-4)


def test_models_on_the_edge_of_the_tolerance_are_blocked_as_seldom_as_promised() -> None:
    """24 independent cells of which each one's excess is 0: one test a cell would block 71%."""
    rng = np.random.default_rng(5)
    blocked = 0
    for _ in range(400):
        cells = [
            criterion(Estimate(np.r_[at, at + rng.normal(size=200)], 1e6))
            for at in rng.normal(size=24)
        ]
        blocked += any(d.outcome == "fails" for d in decide(cells, 0.95))
    assert 6 <= blocked <= 34  # 20 expected; the binomial distribution's 0.05% ends.


def test_a_change_over_several_runs_counts_where_this_run_says_so_too() -> None:
    far = estimate(0.1, 0.01)
    decisions = decide([criterion(far, today=0.01), criterion(far, today=-0.01)], 0.95)
    assert [d.outcome for d in decisions] == ["fails", "holds"]


def test_few_users_need_more() -> None:
    excess = estimate(0.03, 0.01, degrees=3)
    assert decide([criterion(estimate(0.03, 0.01))], 0.95)[0].outcome == "fails"
    (decision,) = decide([criterion(excess)], 0.99)
    assert decision.outcome == "holds" and decision.noise == pytest.approx(0.0454, abs=1e-4)


def test_noise_that_is_not_known_leaves_it_open() -> None:
    unknown = Estimate(np.r_[0.3, np.full(400, np.nan)], 50.0)
    one_user = estimate(-0.3, 0.1, degrees=0)
    outcomes = [d.outcome for d in decide([criterion(unknown), criterion(one_user)], 0.95)]
    assert outcomes == ["open", "open"]


def test_changes_get_most_of_the_chance_to_err() -> None:
    floor = criterion(estimate(-1, 1.0), kind="floor")
    both = decide([criterion(estimate(-1, 1.0)), floor], 0.9)
    assert [d.noise for d in both] == pytest.approx([1.3106, 2.5758], abs=1e-3)  # .095 and .005
    assert decide([floor], 0.9)[0].noise == pytest.approx(1.2816, abs=1e-3)


def test_no_criterion_no_decision() -> None:
    assert decide([], 0.95) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_by_its_definition(p_values: list[float], level: float) -> None:
    """Reject the smallest while each is at most level / (number left)."""
    found = holm(np.array(p_values), level)
    left, expected = sorted(range(len(p_values)), key=lambda i: p_values[i]), set()
    while left and p_values[left[0]] <= level / len(left):
        expected.add(left.pop(0))
    assert {i for i in range(len(p_values)) if found[i]} == expected
