"""Decides whether a candidate may be pushed."""

import math
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation

from keras_models.metrics import auc, class_logloss, mse
from tfx_pipeline.artifacts import (
    BaselinePointer,
    GateVerdict,
    read_json,
    serving_dir,
    split_pattern,
    write_json,
)
from tfx_pipeline.config import Config, GateConfig
from tfx_pipeline.evaluation import LOSS_KINDS, POOL, Cell, read_cells
from tfx_pipeline.inputs import history
from tfx_pipeline.scoring import EvaluationRows, read_rows, required_columns, score


@tfx.dsl.components.component
def Gate(  # noqa: N802 - components are named like TFX's own
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    evaluation: InputArtifact[ModelEvaluation],
    baseline: InputArtifact[BaselinePointer],
    blessing: OutputArtifact[ModelBlessing],
    verdict: OutputArtifact[GateVerdict],
    config: Parameter[str],
    code: Parameter[str],
) -> None:
    """Judges every task x scenario cell; the only writer of the blessing.

    One cell below its floor, or below the last pushed version by more than its
    tolerance, blocks the push, whatever the mean did.

    Args:
      examples: Its `eval` split is what the last pushed version is scored on.
      model: The candidate.
      evaluation: The Evaluator's metrics of the candidate.
      baseline: The last pushed version, if there is one.
      blessing: Written for the Pusher.
      verdict: Written for the report and for `summary.json`.
      config: The run's config, as JSON.
      code: Part of the cache key: what judged otherwise must not lend its verdict.
    """
    del code
    settings = Config.model_validate_json(config)
    pushed = read_json(baseline.uri, "baseline.json")
    cells = read_cells(evaluation.uri, settings)
    failures: list[dict[str, Any]] = []
    with_truth = [name for name, task in settings.tasks.items() if task.true_probability]
    candidate: dict[str, np.ndarray] = {}
    last: dict[str, np.ndarray] = {}
    if with_truth or pushed["path"]:
        kinds = {name: task.kind for name, task in settings.tasks.items()}
        rows = read_rows(split_pattern(examples.uri, "eval"), kinds, with_truth)
        set_ceilings(cells, rows)
        if pushed["path"] and settings.gate.max_auc_drop < 1:
            version = tf.saved_model.load(pushed["path"])
            failures = judge_comparability(required_columns(version), settings)
            if not failures:
                candidate = score(tf.saved_model.load(serving_dir(model.uri)), rows.examples)
                last = comparable(candidate, score(version, rows.examples))
    not_judged = set_status(cells, settings.gate, compared=set(last))
    failures += judge_coverage(cells, settings.gate) + judge_floors(cells, settings.gate)
    if last:
        failures += judge_change(
            cells, rows, candidate=candidate, baseline=last, gate=settings.gate
        )
    blessed = not failures
    write_json(
        verdict.uri,
        "verdict.json",
        {
            "blessed": blessed,
            "failures": failures,
            "not_judged": not_judged,
            "baseline_version": pushed["version"],
            "metrics": [cell.as_dict() for cell in cells],
        },
    )
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("current_model", model.uri)
    with tfx.dsl.io.fileio.open(
        os.path.join(blessing.uri, "BLESSED" if blessed else "NOT_BLESSED"), "w"
    ) as f:
        f.write("")


def comparable(
    candidate: dict[str, np.ndarray], last: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs of the last pushed version that the candidate has too, in the same shape."""
    return {
        name: values
        for name, values in last.items()
        if name in candidate and values.shape == candidate[name].shape
    }


def set_status(
    cells: Sequence[Cell], gate: GateConfig, compared: Collection[str] = ()
) -> list[dict[str, str]]:
    """Marks the cells that are too small to judge, or that nothing judges.

    Args:
      cells: Changed in place.
      gate: Holds the least numbers of positives and negatives; a cell of another kind of task needs
        as many rows as both together.
      compared: Tasks that the last pushed version has too. Without it there is nothing to judge
        tasks by that have no AUC, and so no floor.

    Returns:
      A `{"task", "scenario", "why"}` for each of them.
    """
    not_judged = []
    for cell in cells:
        why = []
        if cell.positives is None or cell.negatives is None:
            least = gate.min_positives + gate.min_negatives
            if cell.examples < least:
                why.append(f"{cell.examples} rows, fewer than {least}")
            if cell.task not in compared:
                why.append(
                    f"a {cell.kind} task has no floor, and no pushed version to compare it with"
                )
        else:
            if cell.positives < gate.min_positives:
                why.append(f"{cell.positives} positives, fewer than {gate.min_positives}")
            if cell.negatives < gate.min_negatives:
                why.append(f"{cell.negatives} negatives, fewer than {gate.min_negatives}")
        if why:
            cell.status = "not_judged"
            not_judged.append({"task": cell.task, "scenario": cell.scenario, "why": "; ".join(why)})
    return not_judged


def judge_coverage(cells: Sequence[Cell], gate: GateConfig) -> list[dict[str, Any]]:
    """Tasks whose pool is too small to judge: a model is not blessed for want of evidence.

    A task without an AUC may stay unjudged: the first version has nothing to compare it with.
    """
    failures = []
    for cell in cells:
        if cell.scenario != POOL or cell.status == "judged":
            continue
        least = gate.min_positives + gate.min_negatives
        if cell.positives is None or cell.negatives is None:
            metric, value, threshold = "rows", cell.examples, least
        elif cell.positives < gate.min_positives:
            metric, value, threshold = "positives", cell.positives, gate.min_positives
        else:
            metric, value, threshold = "negatives", cell.negatives, gate.min_negatives
        if value < threshold:
            failures.append(
                {
                    "task": cell.task,
                    "scenario": POOL,
                    "metric": metric,
                    "value": value,
                    "threshold": threshold,
                    "kind": "too_few_rows",
                }
            )
    return failures


def judge_floors(cells: Sequence[Cell], gate: GateConfig) -> list[dict[str, Any]]:
    """Judged cells whose AUC lies below its floor; tasks without an AUC have none.

    The floor is `auc_floors[task/scenario]`, else `auc_floors[task]`, else `auc_floor`.
    """
    failures = []
    for cell in _judged(cells):
        if cell.kind in LOSS_KINDS:
            continue
        floors = gate.auc_floors
        floor = floors.get(f"{cell.task}/{cell.scenario}", floors.get(cell.task, gate.auc_floor))
        # A judged cell has both classes, so an AUC that is None is one that is not finite.
        if cell.auc is None or cell.auc < floor:
            failures.append(_failure(cell, cell.auc, floor, "floor"))
    return failures


def judge_comparability(required: set[str], config: Config) -> list[dict[str, Any]]:
    """A failure if the last pushed version reads columns that the examples no longer hold.

    It would be scored as if they were missing, and a fall below what it really reaches
    would pass; a statistic it would look up in its own tables, which may hold the very rows.
    `max_auc_drop: 1` gives up the comparison.

    Args:
      required: Columns that the last pushed version reads.
      config: The run's config.
    """
    kept = history(config)
    held = {*config.features.fields, config.scenario.column, config.data.user}
    held |= set(kept.features if kept else ())
    missing = sorted(required - held)
    if not missing:
        return []
    return [
        {
            "task": "*",
            "scenario": POOL,
            "metric": "columns",
            "value": None,
            "threshold": None,
            "kind": "not_comparable",
            "why": f"the last pushed version also reads {', '.join(missing)}; keep them among the "
            "features, or give up the comparison with gate.max_auc_drop=1",
        }
    ]


def judge_change(
    cells: Sequence[Cell],
    rows: EvaluationRows,
    *,
    candidate: dict[str, np.ndarray],
    baseline: dict[str, np.ndarray],
    gate: GateConfig,
) -> list[dict[str, Any]]:
    """Judged cells that fell below the last pushed version on the same rows.

    Both are computed here, exactly and alike. A task that the last version did not have is not
    compared.

    Args:
      cells: `auc_baseline` or `loss_baseline` is set in place.
      rows: The evaluation rows.
      candidate: The candidate's outputs by task, float32 [R], of multiclass tasks [R, C].
      baseline: The last pushed version's, likewise.
      gate: Holds the tolerances.

    Returns:
      A failure for each cell whose AUC fell, or whose loss rose, by more than the tolerance.
    """
    failures = []
    for cell in cells:
        if cell.task not in baseline:
            continue
        if cell.kind in LOSS_KINDS:
            cell.loss_baseline = _cell_loss(rows, cell, baseline[cell.task])
            now = _cell_loss(rows, cell, candidate[cell.task])
            if cell.status != "judged" or cell.loss_baseline is None:
                continue
            threshold = cell.loss_baseline * (1 + gate.max_loss_rise)
            # A loss that is not a number is not within it.
            if now is None or not now <= threshold:
                failures.append(_failure(cell, now, threshold, "change", LOSS_KINDS[cell.kind]))
            continue
        cell.auc_baseline = _cell_auc(rows, cell, baseline[cell.task])
        now = _cell_auc(rows, cell, candidate[cell.task])
        if cell.status != "judged" or now is None or cell.auc_baseline is None:
            continue
        threshold = cell.auc_baseline - gate.max_auc_drop
        if now < threshold:
            failures.append(_failure(cell, now, threshold, "change"))
    return failures


def set_ceilings(cells: Sequence[Cell], rows: EvaluationRows) -> None:
    """Sets, where the logs hold true probabilities, the AUC that these would have."""
    for cell in cells:
        if cell.task in rows.true_probability:
            cell.auc_ceiling = _cell_auc(rows, cell, rows.true_probability[cell.task])


def _judged(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.status == "judged"]


def _failure(
    cell: Cell, value: float | None, threshold: float, kind: str, metric: str = "auc"
) -> dict[str, Any]:
    return {
        "task": cell.task,
        "scenario": cell.scenario,
        "metric": metric,
        "value": value if value is None or math.isfinite(value) else None,
        "threshold": threshold,
        "kind": kind,
    }


def _cell_auc(rows: EvaluationRows, cell: Cell, scores: np.ndarray) -> float | None:
    chosen = _of_cell(rows, cell)
    return auc(rows.labels[cell.task][chosen] > 0, scores[chosen])


def _cell_loss(rows: EvaluationRows, cell: Cell, outputs: np.ndarray) -> float | None:
    chosen = _of_cell(rows, cell)
    loss = mse if cell.kind == "regression" else class_logloss
    return loss(rows.labels[cell.task][chosen], outputs[chosen])


def _of_cell(rows: EvaluationRows, cell: Cell) -> np.ndarray:
    """Rows of the cell's scenario in the task's sample space, bool [R]."""
    inside = ~np.isnan(rows.labels[cell.task])
    if cell.scenario == POOL:
        return inside
    return inside & (rows.scenario == cell.scenario.encode())
