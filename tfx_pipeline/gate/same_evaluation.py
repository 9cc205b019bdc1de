"""Whether the Evaluator saw the model and the rows that the Gate sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_models.metrics import auc, gauc
from tfx_pipeline.evaluation import LOSS_KINDS, Cell
from tfx_pipeline.gate.measure import Measured
from transforms.problems import InputError, Problem

_CLOSE = 1e-6
"""What scores, and values of them, may differ by: batches of other sizes round otherwise."""


def check_same_evaluation(
    uri: str,
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
    labels: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    users: np.ndarray,
) -> None:
    """Compares the Evaluator's values with the Gate's own.

    Args:
      uri: Folder of the ModelEvaluation artifact.
      cells: The Evaluator's.
      measured: The Gate's, by task and scenario.
      labels: By task, [R].
      scores: The candidate's, by task, [R].
      users: [R].

    Raises:
      InputError: naming the cells that differ.
    """
    differing = []
    for cell in cells:
        own = measured.get((cell.task, cell.scenario))
        rows = 0 if own is None else len(own.rows)
        if own is None and cell.why_null and cell.examples:
            continue  # Scores that are not finite have no values to compare.
        if rows != cell.examples:
            differing.append(f"{_name(cell)}: {cell.examples} rows, here {rows}")
            continue
        if own is None:
            continue
        inside = own.rows
        metrics = ("auc", "gauc") if cell.kind not in LOSS_KINDS else (LOSS_KINDS[cell.kind],)
        for metric in (*metrics, *(("logloss", "calibration") if cell.kind == "binary" else ())):
            theirs, ours = getattr(cell, metric), own.candidate[metric].value
            if theirs is None or ours is None:
                same = theirs is ours
            else:
                same = abs(theirs - ours) <= _CLOSE * max(1, abs(ours))
                if not same and metric in ("auc", "gauc"):
                    positive = labels[cell.task][inside] > 0
                    same = _rounded(
                        metric, theirs, positive, scores[cell.task][inside], users[inside]
                    )
            if not same:
                differing.append(f"{_name(cell)}: {metric} {theirs}, here {ours}")
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            [
                Problem(
                    uri,
                    f"metrics of other rows or of another model ({'; '.join(differing[:3])}{more})",
                    "the Evaluator's metrics of this run's candidate",
                    "Remove this folder and run again: the Evaluator then writes it anew.",
                )
            ]
        )


def _rounded(
    metric: str, value: float, positive: np.ndarray, scores: np.ndarray, users: np.ndarray
) -> bool:
    """Whether rounding of scores explains a value: pairs of rows that are nearly tied may turn."""
    near = 2 * _CLOSE * np.maximum(1, np.abs(scores.astype(np.float64)))
    ends = []
    for sign in (-1, 1):
        moved = scores + sign * np.where(positive, near, 0)
        ends.append(auc(positive, moved) if metric == "auc" else gauc(positive, moved, users))
    low, high = ends
    return low is not None and high is not None and low - _CLOSE <= value <= high + _CLOSE


def _name(cell: Cell) -> str:
    return f"{cell.task} in {cell.scenario}"
