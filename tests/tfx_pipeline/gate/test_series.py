"""What earlier runs say of a candidate, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfx_pipeline.evaluation import Cell
from tfx_pipeline.gate.estimate import Estimate
from tfx_pipeline.gate.measure import Measured
from tfx_pipeline.gate.series import (
    RUNS,
    Difference,
    RunDifferences,
    Series,
    moved,
    over_runs,
    satterthwaite,
)
from tfx_pipeline.gate.series_of_cells import differences, series_after, series_notes

CELL = Cell("click", "feed", 1_000, 200)
WEIGHT = 160.0
"""1 / (1/200 + 1/800)."""


def difference(value: float, variance: float = 1e-4, weight: float = WEIGHT) -> Difference:
    return Difference(
        task="click",
        scenario="feed",
        metric="auc",
        difference=value,
        variance=variance,
        degrees=99,
        weight=weight,
        positives=200,
        negatives=800,
    )


def series(*values: float, carried: float | None = None, first_day: int = 1) -> Series:
    """A run a day."""
    runs = [
        RunDifferences(first_day=day, last_day=day, cells=[difference(value)])
        for day, value in enumerate(values, first_day)
    ]
    return Series(
        anchor=1,
        anchor_model="models/1",
        last_day=len(values),
        scores="",
        runs=runs,
        carried=[] if carried is None else [difference(carried, 4e-4)],
    )


def estimate(value: float, error: float, seed: int = 0) -> Estimate:
    noise = np.random.default_rng(seed).normal(size=4_000)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return Estimate(np.r_[value, value + error * noise], 99)


def test_a_later_run_counts_for_more() -> None:
    past = series(-0.01, -0.02).past("click", {"feed": WEIGHT}, "auc")
    old, new = 0.49 * WEIGHT, 0.7 * WEIGHT
    assert past.weight == pytest.approx(old + new)
    assert past.difference == pytest.approx((0.49 * -0.01 + 0.7 * -0.02) / 1.19)
    assert past.variance == pytest.approx((0.49**2 + 0.7**2) / 1.19**2 * 1e-4)
    nothing = series().past("click", {"feed": WEIGHT}, "auc")
    assert (nothing.difference, nothing.variance, nothing.weight) == (0, 0, 0)


def test_the_excess_over_runs_is_the_mean_fall_less_the_tolerance() -> None:
    """Falls of .01 and .02 before, .03 now, below an anchor that lies .004 below the best."""
    past = series(-0.01, -0.02, carried=-0.004).past("click", {"feed": WEIGHT}, "auc")
    tolerance = 0.005
    now = estimate(0.03 - tolerance, 0.01)
    found = over_runs(now, past, -1, tolerance)
    mean = (0.49 * 0.01 + 0.7 * 0.02 + 0.03) / 2.19
    assert found.value == pytest.approx(0.004 + mean - tolerance)
    variance = (0.49**2 + 0.7**2 + 1) / 2.19**2 * 1e-4 + 4e-4
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=0.05)
    # A rise of a loss is a fall of an AUC.
    risen = series(0.01, 0.02, carried=0.004).past("click", {"feed": WEIGHT}, "auc")
    assert over_runs(now, risen, 1, tolerance).value == pytest.approx(found.value)


def test_one_mean_of_several_cells_goes_by_their_weights() -> None:
    both = series(-0.01)
    other = difference(-0.05, 9e-4).model_copy(update={"scenario": "search", "weight": 40.0})
    both.runs[0].cells.append(other)
    past = both.past("click", {"feed": WEIGHT, "search": 40.0}, "auc")
    assert past.difference == pytest.approx(0.8 * -0.01 + 0.2 * -0.05)
    assert past.variance == pytest.approx(0.8**2 * 1e-4 + 0.2**2 * 9e-4)
    assert both.rows("click", ["feed", "search"]) == (400, 1_600)


def test_a_run_on_the_same_rows_does_not_count_twice() -> None:
    kept = series(-0.01, -0.02, -0.03).before(2, 2)
    assert [run.first_day for run in kept.runs] == [1, 3]


@pytest.mark.parametrize(
    ("today", "carried", "expected"),
    [
        (-0.01, None, -0.01),  # The new anchor lies below the one before it: the bar stays.
        (-0.01, -0.02, -0.03),
        (0.01, None, None),  # It lies above: it is the bar itself.
        (0.01, -0.004, None),
        (0.001, -0.004, -0.003),
    ],
)
def test_the_bar_never_comes_down_with_the_anchor(
    today: float, carried: float | None, expected: float | None
) -> None:
    found = moved(series(carried=carried), [difference(today)])
    assert [d.difference for d in found] == ([] if expected is None else [pytest.approx(expected)])


def test_the_anchor_moves_after_some_runs_and_the_fall_is_carried() -> None:
    measured = {
        ("click", "feed"): Measured(
            np.arange(1_000),
            {"auc": estimate(0.69, 0.01, 1)},
            {"auc": estimate(0.70, 0.01, 1)},
            anchor={"auc": estimate(0.70, 0.01, 2)},
        )
    }
    (today,) = differences([CELL], measured)
    assert today.difference == pytest.approx(-0.01) and today.weight == pytest.approx(WEIGHT)
    assert today.variance == pytest.approx(2e-4, rel=0.05)
    known = series(*[-0.01] * (RUNS - 2))
    days = (RUNS, RUNS)
    after = series_after(known, [CELL], measured, days, model="models/9", scores="s.npz")
    assert (after.anchor, after.anchor_model) == (1, "models/1")
    assert len(after.runs) == RUNS - 1 and after.carried == []
    moved_on = series_after(after, [CELL], measured, days, model="models/10", scores="s.npz")
    assert (moved_on.anchor, moved_on.anchor_model) == (None, "models/10")
    assert moved_on.runs == [] and moved_on.last_day == RUNS
    assert moved_on.carried[0].difference == pytest.approx(-0.01)
    (note,) = series_notes(after, 9, [CELL], measured)
    assert f"over {RUNS} runs 1 of 1 judged cells lie below the best of earlier" in note["why"]


def test_a_first_version_begins_a_series() -> None:
    found = series_after(None, [CELL], {}, (1, 2), model="models/1", scores="")
    assert (found.anchor, found.runs, found.carried, found.last_day) == (None, [], [], 2)
    assert Series.model_validate(found.model_dump()) == found


def test_degrees_of_freedom_of_a_sum() -> None:
    assert satterthwaite([]) == math.inf
    assert satterthwaite([(2.0, 7.0)]) == pytest.approx(7)
    assert satterthwaite([(1.0, 10.0), (1.0, 10.0)]) == pytest.approx(20)
    assert satterthwaite([(4.0, 5.0), (1.0, math.inf)]) == pytest.approx(25 / (16 / 5))
    assert satterthwaite([(1.0, 0.5), (1.0, 9.0)]) == 0
