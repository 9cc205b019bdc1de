"""Reading the Evaluator's results as cells."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tfx_pipeline import evaluation
from tfx_pipeline.config import load_config

CONFIG = load_config(Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml")


def result(**values: float) -> dict:
    return {
        "": {
            f"cell_{name}": {"doubleValue": values.get(name, "NaN")}
            for name in ("examples", "positives", "auc", "gauc", "logloss", "calibration")
        }
    }


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], evaluation.Cell]:
    """Clicks: a full pool, `feed` with one class, `search` without rows."""
    slices = [
        ((), {"click": result(examples=9, positives=4, auc=0.7, gauc=0.6, logloss=0.5)}),
        ((("_scenario", "feed"),), {"click": result(examples=5, positives=0, logloss=0.1)}),
    ]
    monkeypatch.setattr(
        evaluation.tfma, "load_eval_result", lambda _: SimpleNamespace(slicing_metrics=slices)
    )
    return {(c.task, c.scenario): c for c in evaluation.read_cells("anywhere", CONFIG)}


def test_there_is_a_cell_for_every_task_and_scenario(cells: dict) -> None:
    assert list(cells) == [
        (task, scenario) for task in CONFIG.tasks for scenario in ["*", *CONFIG.scenario.names]
    ]


def test_a_full_cell(cells: dict) -> None:
    cell = cells["click", "*"]
    assert (cell.examples, cell.positives, cell.negatives) == (9, 4, 5)
    assert (cell.auc, cell.gauc, cell.logloss) == (0.7, 0.6, 0.5)
    assert cell.ci[0] < 0.7 < cell.ci[1]


def test_a_cell_with_one_class_says_why_values_are_null(cells: dict) -> None:
    cell = cells["click", "feed"]
    assert (cell.auc, cell.ci, cell.gauc, cell.calibration) == (None, None, None, None)
    assert cell.logloss == 0.1
    assert cell.why_null["auc"] == cell.why_null["ci"] == "all 5 labels are negative"
    assert "no user" in cell.why_null["gauc"]


def test_a_scenario_without_rows_is_listed(cells: dict) -> None:
    cell = cells["click", "search"]
    assert (cell.examples, cell.auc) == (0, None)
    assert set(cell.why_null.values()) == {"there are no rows"}
