"""How cells are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.components.gate import (
    comparable,
    judge_change,
    judge_comparability,
    judge_coverage,
    judge_floors,
    set_ceilings,
    set_status,
)
from tfx_pipeline.config import GateConfig, load_config
from tfx_pipeline.evaluation import Cell, auc_interval
from tfx_pipeline.scoring import EvaluationRows


def cell(task: str = "click", scenario: str = "*", **values: float) -> Cell:
    return Cell(**{"task": task, "scenario": scenario, "examples": 400, "positives": 200, **values})


def rows_of_two_scenarios(seed: int = 0) -> tuple[EvaluationRows, np.ndarray]:
    """200 rows each of `feed` and `search`, and scores that rank both well."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], 200)
    scenario = np.repeat(np.array([b"feed", b"search"]), 200)
    scores = (labels + rng.normal(0, 0.7, 400)).astype(np.float32)
    rows = EvaluationRows(
        examples=np.array([b""] * 400), labels={"click": labels}, scenario=scenario
    )
    return rows, scores


def cells_of_two_scenarios() -> list[Cell]:
    return [cell(), *(cell(scenario=s, examples=200, positives=100) for s in ("feed", "search"))]


@pytest.mark.parametrize(
    ("positives", "examples", "why"),
    [
        (49, 400, "49 positives, fewer than 50"),
        (360, 400, "40 negatives, fewer than 50"),
        (1, 2, "1 positives, fewer than 50; 1 negatives, fewer than 50"),
    ],
)
def test_small_cells_are_listed_as_not_judged(positives: int, examples: int, why: str) -> None:
    small = cell(scenario="feed", positives=positives, examples=examples, auc=0.1)
    assert set_status([small], GateConfig()) == [{"task": "click", "scenario": "feed", "why": why}]
    assert small.status == "not_judged"
    assert judge_floors([small], GateConfig()) == []


def test_a_pool_too_small_to_judge_fails_the_gate() -> None:
    cells = [cell(positives=3), cell("like", positives=390)]
    set_status(cells, GateConfig())
    assert [
        (f["task"], f["metric"], f["value"], f["threshold"])
        for f in judge_coverage(cells, GateConfig())
    ] == [("click", "positives", 3, 50), ("like", "negatives", 10, 50)]


def test_the_most_specific_floor_counts() -> None:
    gate = GateConfig(auc_floor=0.5, auc_floors={"click": 0.6, "click/feed": 0.7})
    cells = [
        cell(auc=0.65),
        cell(scenario="feed", auc=0.65),
        cell(scenario="search", auc=0.55),
        cell("like", auc=0.55),
        cell("like", "feed", auc=0.45),
    ]
    assert [(f["task"], f["scenario"], f["threshold"]) for f in judge_floors(cells, gate)] == [
        ("click", "feed", 0.7),
        ("click", "search", 0.6),
        ("like", "feed", 0.5),
    ]


def test_an_auc_that_is_not_finite_fails_its_floor() -> None:
    (failure,) = judge_floors([cell(auc=None)], GateConfig())
    assert failure["value"] is None and failure["kind"] == "floor"


def test_equal_scores_pass() -> None:
    rows, scores = rows_of_two_scenarios()
    cells = cells_of_two_scenarios()
    failures = judge_change(
        cells, rows, candidate={"click": scores}, baseline={"click": scores}, gate=GateConfig()
    )
    assert failures == []
    assert all(c.auc_baseline is not None for c in cells)


def test_one_fallen_scenario_is_named_though_the_pool_holds() -> None:
    rows, scores = rows_of_two_scenarios()
    candidate = scores.copy()
    search = rows.scenario == b"search"
    feed = ~search
    # Search is ranked at random, feed better than before.
    candidate[search] = np.random.default_rng(1).permutation(scores[search])
    candidate[feed] = rows.labels["click"][feed]
    failures = judge_change(
        cells_of_two_scenarios(),
        rows,
        candidate={"click": candidate},
        baseline={"click": scores},
        gate=GateConfig(max_auc_drop=0.02),
    )
    assert ("click", "search", "change") in [
        (f["task"], f["scenario"], f["kind"]) for f in failures
    ]
    assert "feed" not in [f["scenario"] for f in failures]


def test_a_cell_that_is_not_judged_cannot_block_by_falling() -> None:
    rows, scores = rows_of_two_scenarios()
    cells = cells_of_two_scenarios()
    for c in cells:
        c.status = "not_judged"
    assert (
        judge_change(
            cells, rows, candidate={"click": -scores}, baseline={"click": scores}, gate=GateConfig()
        )
        == []
    )


def test_a_task_that_the_last_version_lacks_is_not_compared() -> None:
    rows, scores = rows_of_two_scenarios()
    cells = cells_of_two_scenarios()
    assert (
        judge_change(
            cells, rows, candidate={"click": -scores}, baseline={"like": scores}, gate=GateConfig()
        )
        == []
    )
    assert [c.auc_baseline for c in cells] == [None] * 3


def _other(task: str, kind: str, **values: float) -> Cell:
    return cell(task, positives=None, kind=kind, **values)


def test_a_task_without_an_auc_is_judged_by_its_loss() -> None:
    rng = np.random.default_rng(0)
    truth, classes = rng.normal(size=400), rng.integers(0, 3, 400)
    rows, _ = rows_of_two_scenarios()
    rows.labels = {"ratio": truth, "power": classes.astype(float)}
    good = {"ratio": truth + 0.5, "power": 0.7 * np.eye(3)[classes] + 0.1}
    bad = {"ratio": truth + 0.52, "power": 0.4 * np.eye(3)[classes] + 0.2}
    cells = [_other("ratio", "regression", mse=0.25), _other("power", "multiclass", logloss=0.2)]
    for candidate, tolerance, failed in (
        (good, 0.0, []),
        (bad, 0.05, [("ratio", "mse"), ("power", "logloss")]),
        (bad, 0.1, [("power", "logloss")]),
        (bad, 2.0, []),
    ):
        gate = GateConfig(max_loss_rise=tolerance, auc_floor=1.0)
        assert set_status(cells, gate, compared=good) == []
        assert judge_floors(cells, gate) == []
        failures = judge_change(cells, rows, candidate=candidate, baseline=good, gate=gate)
        assert [(f["task"], f["metric"]) for f in failures] == failed
        assert {f["kind"] for f in failures} <= {"change"}
    assert cells[0].loss_baseline == pytest.approx(0.25)
    assert cells[1].loss_baseline == pytest.approx(-np.log(0.8))


def test_a_loss_that_is_no_number_blocks() -> None:
    rows, _ = rows_of_two_scenarios()
    rows.labels = {"ratio": np.zeros(400)}
    failures = judge_change(
        [_other("ratio", "regression")],
        rows,
        candidate={"ratio": np.full(400, np.nan)},
        baseline={"ratio": np.ones(400)},
        gate=GateConfig(),
    )
    assert [(f["metric"], f["value"]) for f in failures] == [("mse", None)]


def test_without_a_pushed_version_a_task_without_an_auc_is_not_judged() -> None:
    cells = [_other("ratio", "regression"), _other("ratio", "regression", examples=99)]
    cells[1].scenario = "feed"
    whys = [entry["why"] for entry in set_status(cells, GateConfig())]
    assert whys[0] == "a regression task has no floor, and no pushed version to compare it with"
    assert whys[1].startswith("99 rows, fewer than 100; a regression task")
    assert judge_coverage(cells, GateConfig()) == []
    few = _other("ratio", "regression", examples=7)
    set_status([few], GateConfig())
    (failure,) = judge_coverage([few], GateConfig())
    assert (failure["metric"], failure["value"], failure["threshold"]) == ("rows", 7, 100)


def test_only_outputs_of_one_shape_are_compared() -> None:
    last = {"power": np.zeros((4, 3)), "click": np.zeros(4), "gone": np.zeros(4)}
    now = {"power": np.zeros((4, 2)), "click": np.ones(4)}
    assert list(comparable(now, last)) == ["click"]


def test_rows_outside_of_a_sample_space_are_not_compared() -> None:
    rows, scores = rows_of_two_scenarios()
    labels = rows.labels["click"].astype(float)
    labels[:200] = np.nan
    rows.labels = {"click": labels}
    candidate = scores.copy()
    candidate[:200] *= -1
    outcome = judge_change(
        cells_of_two_scenarios(),
        rows,
        candidate={"click": candidate},
        baseline={"click": scores},
        gate=GateConfig(max_auc_drop=0.0),
    )
    assert outcome == []


def test_the_ceiling_is_the_auc_of_the_true_probability() -> None:
    rows, _ = rows_of_two_scenarios()
    rows.true_probability["click"] = rows.labels["click"].astype(np.float32)
    cells = cells_of_two_scenarios()
    set_ceilings(cells, rows)
    assert [c.auc_ceiling for c in cells] == [1.0, 1.0, 1.0]


def test_interval_equals_hanley_and_mcneils_worked_example() -> None:
    # Their computed-tomography example: A = 0.893, 51 abnormal, 58 normal, standard error 0.032.
    low, high = auc_interval(0.893, 51, 58)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.032, abs=0.0006)


def test_a_last_version_that_reads_more_columns_cannot_be_compared() -> None:
    config = load_config(
        Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml",
        ["features.statistics=[{by: [item_id], of: [like]}]"],
    )
    known = {*config.features.categorical, *config.features.numeric, "stat:item_id:like:rate"}
    assert judge_comparability(known, config) == []
    (failure,) = judge_comparability({*known, "gone", "away"}, config)
    assert failure["kind"] == "not_comparable" and "reads away, gone;" in failure["why"]
