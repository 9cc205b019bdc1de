"""Whether the Evaluator's metrics are those of the candidate on the rows."""

from __future__ import annotations

import numpy as np
import pytest

from keras_models import metrics
from tfx_pipeline.evaluation import Cell
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.measure import measure
from tfx_pipeline.gate.same_evaluation import check_same_evaluation
from tfx_pipeline.scoring import EvaluationRows
from transforms.problems import InputError

RNG = np.random.default_rng(0)
LABELS = (RNG.random(300) < 0.4).astype(np.float32)
SCORES = RNG.random(300).astype(np.float32)
USERS = RNG.integers(30, size=300)


def cell(scores: np.ndarray = SCORES, **changed: float) -> Cell:
    """As the Evaluator would say it of these scores."""
    values = {
        name: getattr(metrics, name)(LABELS, scores) for name in ("auc", "logloss", "calibration")
    }
    values |= {"gauc": metrics.gauc(LABELS, scores, USERS), **changed}
    return Cell("click", "*", 300, int(LABELS.sum()), **values)


def check(*cells: Cell, scores: np.ndarray = SCORES) -> None:
    rows = EvaluationRows(np.zeros(300), {"click": LABELS}, np.full(300, b"feed", object))
    bootstrap = UserBootstrap(USERS, 100)
    measured = measure(cells, rows, bootstrap, candidate={"click": scores}, baseline={})
    check_same_evaluation("/evaluation", cells, measured, rows.labels, {"click": scores}, USERS)


def test_the_same_metrics_pass() -> None:
    check(cell(), Cell("click", "nowhere", 0, 0, why_null={"auc": "there are no rows"}))


@pytest.mark.parametrize(
    "changed",
    [{"auc": 0.51}, {"gauc": 0.4}, {"logloss": 0.9}, {"calibration": 2.0}, {"gauc": None}],
)
def test_other_metrics_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(InputError) as error:
        check(cell(**changed))
    (problem,) = error.value.problems
    (name,) = changed
    assert problem.where == "/evaluation" and f"click in *: {name} {changed[name]}" in problem.found
    assert "Remove this folder and run again" in problem.remedy


def test_other_rows_are_refused() -> None:
    other = cell()
    other.examples = 299
    with pytest.raises(InputError, match=r"click in \*: 299 rows, here 300"):
        check(other)
    with pytest.raises(InputError, match="5 rows, here 0"):
        check(Cell("click", "nowhere", 5, 2, auc=0.5))


def test_rows_that_are_nearly_tied_may_turn() -> None:
    """In small cells one pair of rows is worth more than any tolerance of a value."""
    near = SCORES.copy()
    first, second = np.flatnonzero(LABELS)[0], np.flatnonzero(LABELS == 0)[0]
    near[first], near[second] = 0.5 + 3e-8, 0.5
    turned = near.copy()
    turned[[first, second]] = near[[second, first]]
    assert abs(metrics.auc(LABELS, turned) - metrics.auc(LABELS, near)) > 1e-5
    check(cell(turned), scores=near)
    far = near.copy()
    far[[first, second]] = 0.4, 0.6
    with pytest.raises(InputError, match="auc"):
        check(cell(far), scores=near)


def test_scores_that_are_no_numbers_have_nothing_to_compare() -> None:
    broken = SCORES.copy()
    broken[3] = np.nan
    none = Cell("click", "*", 300, int(LABELS.sum()), why_null={"auc": "not finite"})
    check(none, scores=broken)
