"""Every cell's metrics with their noise, of the candidate and of the last pushed version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_models.metrics import auc
from tfx_pipeline.evaluation import LOSS_KINDS, POOL, Cell
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.curves import calibration_curve, roc_curve
from tfx_pipeline.gate.estimate import Estimate, estimates, has_both_classes
from tfx_pipeline.scoring import EvaluationRows

_UNIT = ("auc", "gauc", "ndcg", "accuracy")
"""Metrics between 0 and 1."""


@dataclass(frozen=True)
class Measured:
    """A cell's metrics by name.

    Args:
      rows: Indices of its rows, int64 [B].
      candidate: Of the candidate.
      baseline: Of the last pushed version on the same rows; None where it is not compared.
      own: Likewise with the features of that version's own run; None where they are the same.
      anchor: Likewise of the anchor of the series, with the features of this run.
      gauc_users: Users who have both classes, of whom the GAUC is made; None without a GAUC.
    """

    rows: np.ndarray
    candidate: dict[str, Estimate]
    baseline: dict[str, Estimate] | None
    own: dict[str, Estimate] | None = None
    anchor: dict[str, Estimate] | None = None
    gauc_users: int | None = None


def measure(
    cells: Sequence[Cell],
    rows: EvaluationRows,
    bootstrap: UserBootstrap,
    *,
    candidate: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray] | None = None,
    anchor: Mapping[str, np.ndarray] | None = None,
    requests: np.ndarray | None = None,
) -> dict[tuple[str, str], Measured]:
    """Measures the cells that have rows and finite scores.

    Args:
      cells: The cells.
      rows: The evaluation rows.
      bootstrap: Over their users.
      candidate: The candidate's outputs by task, float32 [R], of multiclass tasks [R, C].
      baseline: The last pushed version's, likewise; only of the tasks to compare.
      own: Likewise with the features of its own run.
      anchor: The anchor's, likewise.
      requests: Request of each row, for ranking tasks, int64 [R].

    Returns:
      By task and scenario.
    """
    found = {}
    for cell in cells:
        inside, outputs = rows_of(cell, rows), candidate[cell.task]
        if not len(inside) or not np.isfinite(outputs[inside]).all():
            continue
        labels = rows.labels[cell.task]
        all_models = [candidate, baseline, own or {}, anchor or {}]
        by_scores: dict[int, dict[str, Estimate]] = {}
        measured = []
        for scores in (model.get(cell.task) for model in all_models):
            if scores is not None and id(scores) not in by_scores:
                by_scores[id(scores)] = estimates(
                    cell.kind, bootstrap, inside, labels, scores, requests
                )
            measured.append(by_scores.get(id(scores)))
        of_candidate, *of_others = measured
        assert of_candidate is not None
        of_baseline, of_own, of_anchor = of_others
        gauc_users = None
        if "gauc" in of_candidate:
            user = bootstrap.user[inside]
            both = has_both_classes(user, labels[inside] > 0)
            gauc_users = len(np.unique(user[both]))
        found[cell.task, cell.scenario] = Measured(
            inside, of_candidate, of_baseline, of_own, of_anchor, gauc_users
        )
    return found


def describe(cell: Cell, measured: Measured) -> None:
    """Sets what a cell says of its noise and of the baseline."""
    cell.gauc_users = measured.gauc_users
    if "auc" in measured.candidate and cell.auc is not None:
        cell.ci = measured.candidate["auc"].interval(0, 1)
        if cell.ci is None:
            cell.why_null["ci"] = "its positives or negatives are of too few users"
    if measured.baseline is None:
        return
    cell.change = changes(measured.candidate, measured.baseline)
    if cell.kind in LOSS_KINDS:
        cell.loss_baseline = measured.baseline[LOSS_KINDS[cell.kind]].value
    else:
        cell.auc_baseline = measured.baseline["auc"].value


def changes(
    candidate: Mapping[str, Estimate], baseline: Mapping[str, Estimate]
) -> dict[str, dict[str, Any]]:
    """By metric the baseline's value, the difference to it, and that one's 95% interval."""
    found = {}
    for metric, new in candidate.items():
        difference = new.minus(baseline[metric])
        ends = (-1.0, 1.0) if metric in _UNIT else (-np.inf, np.inf)
        interval = difference.interval(*ends)
        if difference.value is not None and interval is not None:
            found[metric] = {
                "baseline": baseline[metric].value,
                "difference": difference.value,
                "interval": interval,
            }
    return found


def curves(
    cell: Cell,
    inside: np.ndarray,
    labels: np.ndarray,
    candidate: np.ndarray,
    baseline: np.ndarray | None,
) -> dict[str, Any] | None:
    """A cell's ROC and calibration curves; None where a class is missing.

    Args:
      cell: Of a binary or a ranking task, which has no calibration.
      inside: Indices of its rows.
      labels: Of all rows, [R].
      candidate: The candidate's scores of all rows, [R].
      baseline: The last pushed version's, if it is compared.
    """
    positive = labels[inside] > 0
    if positive.all() or not positive.any():
        return None

    def of(scores: np.ndarray) -> dict[str, Any]:
        drawn: dict[str, Any] = {"roc": roc_curve(positive, scores[inside])}
        if cell.kind == "binary":
            drawn["calibration"] = calibration_curve(positive, scores[inside])
        return drawn

    return of(candidate) | ({} if baseline is None else {"baseline": of(baseline)})


def weight_of(cell: Cell) -> float:
    """What its rows count for beside those of other cells and runs; 0 where a class is missing."""
    if cell.positives is None or cell.negatives is None:
        return float(cell.examples)
    if not cell.positives or not cell.negatives:
        return 0.0
    return 1 / (1 / cell.positives + 1 / cell.negatives)


def set_ceilings(cells: Sequence[Cell], rows: EvaluationRows) -> None:
    """Sets, where the logs hold true probabilities, the AUC that these would have."""
    for cell in cells:
        if cell.task in rows.true_probability:
            inside = rows_of(cell, rows)
            cell.auc_ceiling = auc(
                rows.labels[cell.task][inside] > 0, rows.true_probability[cell.task][inside]
            )


def rows_of(cell: Cell, rows: EvaluationRows) -> np.ndarray:
    """Rows of the cell's scenario in the task's sample space, int64 [B]."""
    inside = ~np.isnan(rows.labels[cell.task])
    if cell.scenario != POOL:
        inside &= rows.scenario == cell.scenario.encode()
    return np.flatnonzero(inside)
