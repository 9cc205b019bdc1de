"""What a candidate fails by, and what could not be judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_pipeline.config import GateConfig, Thresholds
from tfx_pipeline.evaluation import LOSS_KINDS, NOT_FINITE, POOL, Cell
from tfx_pipeline.gate.judge import Criterion, Decision, criteria, decide
from tfx_pipeline.gate.measure import Measured
from tfx_pipeline.gate.metric_names import METRIC_NAMES


def judge(
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
    gate: GateConfig,
    version: int | None,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Judges every cell.

    Args:
      cells: Their status is set in place.
      measured: What has rows and finite scores, by task and scenario.
      gate: Holds the thresholds.
      version: The last pushed version's number, where there is one.

    Returns:
      The failures, a `{"task", "scenario", "metric", "value", "threshold", "kind", "why"}` each,
      changes also with the `baseline`'s value; and a `{"task", "scenario", "why"}` for each cell
      that is not judged. A pool that is not judged for want of rows or for its noise is among the
      failures too: no model is blessed for want of evidence.
    """
    failures: list[dict[str, Any]] = []
    not_judged: list[dict[str, str]] = []
    held: list[Criterion] = []
    few: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for cell in cells:
        key, thresholds = (cell.task, cell.scenario), gate.of(cell.task, cell.scenario)
        if few_rows := _few_rows(cell, thresholds):
            few[key] = few_rows
        elif key not in measured:
            failures.append(_not_finite(cell, thresholds))
        else:
            found = measured[key]
            held += criteria(key, cell.kind, thresholds, found.candidate, found.baseline)
    decisions = list(zip(held, decide(held, gate.confidence), strict=True))
    for cell in cells:
        key = (cell.task, cell.scenario)
        own = [(c, d) for c, d in decisions if (c.task, c.scenario) == key]
        failed = [_failure(c, d, measured[key], version) for c, d in own if d.outcome == "fails"]
        failures += failed
        if failed or (key not in measured and key not in few):
            continue
        if key in few:
            why = "; ".join(
                f"{value} {what}, fewer than {least}" for what, value, least in few[key]
            )
        elif not own:
            why = "no threshold applies to it"
            if measured[key].baseline is None:
                why += ", and there is no pushed version to compare it with"
        else:
            why = "; ".join(_open(c, d) for c, d in own if d.outcome == "open")
        if not why:
            continue
        cell.status = "not_judged"
        not_judged.append({"task": cell.task, "scenario": cell.scenario, "why": why})
        if cell.scenario == POOL:
            failures += _not_covered(cell, few.get(key, ()), own, why)
    return failures, not_judged


def _few_rows(cell: Cell, thresholds: Thresholds) -> list[tuple[str, int, int]]:
    """What there is too little of: its name, how much there is, and the least there should be."""
    positives, negatives = thresholds.min_positives or 0, thresholds.min_negatives or 0
    if cell.positives is None or cell.negatives is None:
        # A task without classes needs as many rows as both together, and one at least.
        wanted = [("rows", cell.examples, max(1, positives + negatives))]
    else:
        wanted = [
            ("positives", cell.positives, max(1, positives)),
            ("negatives", cell.negatives, max(1, negatives)),
        ]
    return [(what, value, least) for what, value, least in wanted if value < least]


def _not_covered(
    cell: Cell,
    few: Sequence[tuple[str, int, int]],
    own: Sequence[tuple[Criterion, Decision]],
    why: str,
) -> list[dict[str, Any]]:
    """A failure for a pool that is not judged, unless nothing is there to judge it by."""
    found = [(what, float(value), float(least)) for what, value, least in few[:1]]
    found += [
        (f"noise of {c.metric}", d.noise, c.most_noise) for c, d in own if d.outcome == "open"
    ]
    return [
        {
            "task": cell.task,
            "scenario": POOL,
            "metric": metric,
            "value": value if math.isfinite(value) else None,
            "threshold": threshold,
            "kind": "too_few_rows",
            "why": f"{_place(cell.task, POOL)} cannot be judged: {why}",
        }
        for metric, value, threshold in found[:1]
    ]


def _not_finite(cell: Cell, thresholds: Thresholds) -> dict[str, Any]:
    metric = LOSS_KINDS.get(cell.kind, "auc")
    return {
        "task": cell.task,
        "scenario": cell.scenario,
        "metric": metric,
        "value": None,
        "threshold": thresholds.auc_floor if metric == "auc" else None,
        "kind": "floor" if metric == "auc" else "ceiling",
        "why": f"{_place(cell.task, cell.scenario)} has no {METRIC_NAMES[metric]}: {NOT_FINITE}",
    }


def _failure(
    criterion: Criterion, decision: Decision, measured: Measured, version: int | None
) -> dict[str, Any]:
    name, place = METRIC_NAMES[criterion.metric], _place(criterion.task, criterion.scenario)
    noise = f"noise alone explains {decision.noise:.4f}"
    failure = {
        "task": criterion.task,
        "scenario": criterion.scenario,
        "metric": criterion.metric,
        "value": criterion.value,
        "threshold": criterion.threshold,
        "kind": criterion.kind,
    }
    beyond = float(criterion.excess.draws[0])
    if criterion.baseline is None or measured.baseline is None:
        side = "below" if criterion.value < criterion.threshold else "above"
        failure["why"] = (
            f"{name} of {place} is {criterion.value:.4f}, {beyond:.4f} {side} "
            f"{criterion.threshold:g}; {noise}"
        )
        return failure
    change = criterion.value - criterion.baseline
    between = measured.candidate[criterion.metric].minus(measured.baseline[criterion.metric])
    low, high = between.interval() or [math.nan, math.nan]
    failure["baseline"] = criterion.baseline
    failure["why"] = (
        f"{name} of {place} {'fell' if change < 0 else 'rose'} from {criterion.baseline:.4f} in "
        f"version {version} to {criterion.value:.4f}, by {change:+.4f} ({low:+.4f} to {high:+.4f})"
        f"; allowed are {abs(criterion.threshold - criterion.baseline):.4f}, {noise}"
    )
    return failure


def _open(criterion: Criterion, decision: Decision) -> str:
    name = METRIC_NAMES[criterion.metric]
    if not math.isfinite(criterion.value):
        return f"its {name} is not defined"
    if not math.isfinite(decision.noise):
        return f"the rows of either class are of too few users to tell the noise of its {name}"
    what = f"its {name} is {criterion.value:.4f}"
    if criterion.baseline is not None:
        what = f"its {name} changed by {criterion.value - criterion.baseline:+.4f}"
    return (
        f"{what}, and noise explains {decision.noise:.4f}, more than the {criterion.most_noise:.4f}"
        " that max_noise allows"
    )


def _place(task: str, scenario: str) -> str:
    return f"{task} over all rows" if scenario == POOL else f"{task} in {scenario}"
