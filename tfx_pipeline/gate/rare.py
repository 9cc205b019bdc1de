"""Cells of a task that are too small to be judged one by one, taken together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfx_pipeline.evaluation import POOL, Cell
from tfx_pipeline.gate.estimate import Estimate
from tfx_pipeline.gate.measure import Measured, weight_of
from tfx_pipeline.gate.series import satterthwaite
from transforms.task_labels import LabelKind


@dataclass(frozen=True)
class RareCells:
    """Several small cells of a task.

    Args:
      task: The task.
      scenario: Names of the scenarios.
      kind: The task's.
      weights: By scenario, what its rows count for.
      positives: Of all of them; None of a task without classes.
      negatives: Likewise.
      examples: Rows of all of them.
      measured: Each metric's mean over the cells, weighted. Rows are compared within their scenario
        only, as they are where each is judged by itself.
    """

    task: str
    scenario: str
    kind: LabelKind
    weights: dict[str, float]
    positives: int | None
    negatives: int | None
    examples: int
    measured: Measured


def rare_cells(
    cells: Sequence[Cell], measured: Mapping[tuple[str, str], Measured]
) -> Iterator[RareCells]:
    """Takes the small cells of each task together.

    Args:
      cells: Those with too few rows, of all tasks.
      measured: By task and scenario.
    """
    for task in dict.fromkeys(cell.task for cell in cells):
        small = [
            cell
            for cell in cells
            if cell.task == task and cell.scenario != POOL and weight_of(cell)
            if (key := (task, cell.scenario)) in measured and _is_known(measured[key])
        ]
        if len(small) < 2:
            continue
        classes = small[0].positives is not None
        yield RareCells(
            task,
            ", ".join(cell.scenario for cell in small),
            small[0].kind,
            {cell.scenario: weight_of(cell) for cell in small},
            sum(cell.positives or 0 for cell in small) if classes else None,
            sum(cell.negatives or 0 for cell in small) if classes else None,
            sum(cell.examples for cell in small),
            _mean([measured[task, cell.scenario] for cell in small], [*map(weight_of, small)]),
        )


def _is_known(measured: Measured) -> bool:
    """Whether the noise of the change, of any metric, can be told."""
    if measured.baseline is None:
        return False
    return any(
        np.isfinite(new.minus(measured.baseline[metric]).standard_error)
        for metric, new in measured.candidate.items()
    )


def _mean(cells: Sequence[Measured], weights: Sequence[float]) -> Measured:
    rows = np.concatenate([cell.rows for cell in cells])
    models = []
    for name in ("candidate", "baseline", "own", "anchor"):
        found = [getattr(cell, name) for cell in cells]
        models.append(
            None
            if any(one is None for one in found)
            else {m: _weighted([one[m] for one in found], weights) for m in found[0]}
        )
    candidate, baseline, own, anchor = models
    assert candidate is not None
    return Measured(rows, candidate, baseline, own, anchor)


def _weighted(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    shares = np.array(weights) / sum(weights)
    draws = sum(share * one.draws for share, one in zip(shares, estimates, strict=True))
    parts = [
        ((share * one.standard_error) ** 2, one.degrees)
        for share, one in zip(shares, estimates, strict=True)
    ]
    known = all(np.isfinite(variance) for variance, _ in parts)
    return Estimate(np.asarray(draws), satterthwaite(parts) if known else 0.0)
