"""Reading the Evaluator's results as cells."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tfx_pipeline import evaluation
from tfx_pipeline.cell_metrics import NAMES
from tfx_pipeline.config import load_config
from transforms.problems import InputError

CONFIG = load_config(Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml")


def result(**values: float) -> dict:
    return {
        "": {f"cell_{name}": {"doubleValue": values.get(name, "NaN")} for name in NAMES["binary"]}
    }


FULL = {
    "examples": 9,
    "positives": 4,
    "auc": 0.7,
    "gauc": 0.6,
    "logloss": 0.5,
    "normalized_entropy": 0.9,
    "calibration": 1.1,
}


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], evaluation.Cell]:
    """Clicks: a full pool, `feed` with one class, `search` without rows."""
    slices = [
        ((), {"click": result(**FULL)}),
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
    # The interval is the Gate's to set.
    assert cell.normalized_entropy == 0.9 and cell.ci is None and cell.why_null == {}


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
    assert "mse" not in ranking
    binary = read("binary", **FULL).as_dict()
    assert not {"mse", "accuracy", "ndcg", "loss_baseline"} & set(binary)
    outside = read("regression", examples=0, mse=float("nan")).as_dict()
    assert set(outside["why_null"].values()) == {"no row is in the task's sample space"}
    for cell in (regression, multiclass, ranking, outside):
        absent = {
            name
            for name, value in cell.items()
            if value is None
            and not name.endswith(("baseline", "ceiling", "change", "users"))
            and not (name == "ci" and cell["auc"] is not None)
        }
        if cell["examples"]:
            assert absent == set(cell["why_null"])


@pytest.mark.parametrize("kind", ["binary", "regression", "multiclass", "ranking"])
def test_scores_that_are_no_numbers_are_the_reason(kind: str) -> None:
    named = {name: float("nan") for name in NAMES[kind]} | {"examples": 5, "positives": 2}
    metrics = {f"cell_{name}": value for name, value in named.items()}
    cell = evaluation._to_cell("t", kind, "*", metrics)
    for name in NAMES[kind]:
        if name not in ("examples", "positives"):
            assert getattr(cell, name) is None
            assert cell.why_null[name] == "the model's scores are not finite"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation as TFMA writes it, of five rows."""
    folder = tmp_path_factory.mktemp("evaluation")
    frame = pd.DataFrame({"prediction": [0.1, 0.9, 0.8], "label": [0.0, 1.0, 0.0]})
    config = evaluation.tfma.EvalConfig(
        model_specs=[evaluation.tfma.ModelSpec(label_key="label", prediction_key="prediction")],
        metrics_specs=[
            evaluation.tfma.MetricsSpec(
                metrics=[evaluation.tfma.MetricConfig(class_name="ExampleCount")]
            )
        ],
        slicing_specs=[evaluation.tfma.SlicingSpec()],
    )
    evaluation.tfma.analyze_raw_data(frame, config, output_path=str(folder))
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize("damage", ["gone", "cut", "scrambled", "empty"])
def test_a_corrupt_evaluation_is_named_with_a_remedy(
    evaluated: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluated, folder)
    if damage == "gone":
        shutil.rmtree(folder)
    for file in folder.glob("metrics*"):
        content = file.read_bytes()
        if damage == "cut":
            file.write_bytes(content[: len(content) // 2])
        elif damage == "scrambled":
            file.write_bytes(bytes(255 - byte for byte in content))
        else:
            file.unlink()
    with pytest.raises(InputError) as error:
        evaluation.read_cells(str(folder), CONFIG)
    (problem,) = error.value.problems
    assert problem.where == str(folder) and "\n" not in problem.found
    assert problem.remedy.startswith("Remove this folder and run again")
