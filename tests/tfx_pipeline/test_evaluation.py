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


def test_cells_of_other_kinds_say_why_values_are_null() -> None:
    def read(kind: str, **values: float) -> evaluation.Cell:
        return evaluation._to_cell(
            "t", kind, "*", {f"cell_{name}": value for name, value in values.items()}
        )

    regression = read("regression", examples=5, mse=0.5).as_dict()
    assert (regression["mse"], regression["auc"], regression["positives"]) == (0.5, None, None)
    assert not {"accuracy", "ndcg"} & set(regression)
    multiclass = read("multiclass", examples=5, logloss=0.5, accuracy=0.8).as_dict()
    assert (multiclass["logloss"], multiclass["accuracy"]) == (0.5, 0.8)
    ranking = read(
        "ranking", examples=5, positives=2, auc=0.7, gauc=0.6, ndcg=float("nan")
    ).as_dict()
    assert (ranking["auc"], ranking["positives"], ranking["ndcg"]) == (0.7, 2, None)
    assert ranking["ci"][0] < 0.7 and "mse" not in ranking
    values = {"positives": 2, "auc": 0.7, "gauc": 0.6, "logloss": 1, "calibration": 1}
    binary = read("binary", examples=5, **values).as_dict()
    assert not {"mse", "accuracy", "ndcg", "loss_baseline"} & set(binary)
    outside = read("regression", examples=0, mse=float("nan")).as_dict()
    assert set(outside["why_null"].values()) == {"no row is in the task's sample space"}
    for cell in (regression, multiclass, ranking, outside):
        absent = {
            name
            for name, value in cell.items()
            if value is None and not name.endswith(("baseline", "ceiling"))
        }
        if cell["examples"]:
            assert absent == set(cell["why_null"])
