"""What a candidate fails by, and what could not be judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfx_pipeline.config import GateConfig, Thresholds
from tfx_pipeline.evaluation import LOSS_KINDS, NOT_FINITE, POOL, Cell
from tfx_pipeline.gate.estimate import Estimate
from tfx_pipeline.gate.judge import UNIT, Criterion, Decision, change_criteria, criteria, decide
from tfx_pipeline.gate.measure import Measured, weight_of
from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.gate.rare import RareCells, rare_cells
from tfx_pipeline.gate.series import Series

_ONE_SIDED_95 = 1.645

_CALIBRATION_OFF = (0.9, 1.1)
"""Where calibration lies outside, beyond its noise, there is a warning."""


@dataclass
class Judgement:
    """What came of the cells.

    Args:
      failures: A `{"task", "scenario", "metric", "value", "threshold", "kind", "why"}` each,
        changes also with the `baseline`'s value, with what they are `against`, and with the 95%
        `interval` of the change, which a series has not.
      not_judged: A `{"task", "scenario", "why"}` for each cell that is not judged.
      warnings: Likewise for each of those that fell, and for each that is judged and whose
        predictions do not add up.
      margins: What each judged threshold was held to: a `{"task", "scenario", "metric", "kind",
        "against", "excess", "noise"}` each.
    """

    failures: list[dict[str, Any]] = field(default_factory=list)
    not_judged: list[dict[str, str]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    margins: list[dict[str, Any]] = field(default_factory=list)


def judge(
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
    gate: GateConfig,
    version: int | None,
    series: Series | None = None,
) -> Judgement:
    """Judges every cell.

    A pool that is not judged for want of rows or for its noise is among the failures: no model is
    blessed for want of evidence. Cells of a task that are too small one by one are judged together.

    Args:
      cells: Their status is set in place.
      measured: What has rows and finite scores, by task and scenario.
      gate: Holds the thresholds.
      version: The last pushed version's number, where there is one.
      series: What its card says of the versions before it, without runs on the same rows.
    """
    found = Judgement()
    held: list[Criterion] = []
    few: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for cell in cells:
        key, thresholds = (cell.task, cell.scenario), gate.of(cell.task, cell.scenario)
        few_rows = _few_rows(cell.positives, cell.negatives, cell.examples, thresholds)
        if few_rows:
            few[key] = few_rows
        elif key not in measured:
            found.failures.append(_not_finite(cell, thresholds))
        if key in measured:
            one = measured[key]
            if not few_rows:
                held += criteria(key, cell.kind, thresholds, one.candidate)
            rows = (cell.positives, cell.negatives, cell.examples)
            weights = {cell.scenario: weight_of(cell)}
            held += _changes(key, cell, one, rows, weights, thresholds, series, version)
    together = list(
        rare_cells([cell for cell in cells if (cell.task, cell.scenario) in few], measured)
    )
    for rare in together:
        key, thresholds = (rare.task, rare.scenario), gate.of(rare.task, rare.scenario)
        rows = (rare.positives, rare.negatives, rare.examples)
        held += _changes(key, rare, rare.measured, rows, rare.weights, thresholds, series, version)
    by_key = {**measured, **{(rare.task, rare.scenario): rare.measured for rare in together}}
    decisions = list(zip(held, decide(held, gate.confidence), strict=True))
    runs = 1 + len(series.runs) if series else 1
    places: list[Cell | RareCells] = [*cells, *together]
    for place in places:
        key = (place.task, place.scenario)
        own = [(c, d) for c, d in decisions if (c.task, c.scenario) == key]
        failed = [
            _failure(c, d, by_key[key], version, series, runs)
            for c, d in own
            if d.outcome == "fails"
        ]
        found.failures += failed
        found.margins += [_margin(c, d) for c, d in own if d.outcome != "open"]
        if key not in few and key in measured and not any(f["kind"] == "band" for f in failed):
            found.warnings += _calibration(place, measured[key])
        if isinstance(place, RareCells) or failed or (key not in measured and key not in few):
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
            why = "; ".join(
                _open(c, d) for c, d in own if d.outcome == "open" and c.against != "series"
            )
        if not why:
            continue
        place.status = "not_judged"
        found.not_judged.append({"task": place.task, "scenario": place.scenario, "why": why})
        if key in measured:
            thresholds = gate.of(place.task, place.scenario)
            found.warnings += _fall(place, measured[key], thresholds, why, version)
        if place.scenario == POOL:
            today = [(c, d) for c, d in own if c.against != "series"]
            found.failures += _not_covered(place, few.get(key, ()), today, why)
    return found


def _changes(
    key: tuple[str, str],
    cell: Cell | RareCells,
    measured: Measured,
    rows: tuple[int | None, int | None, int],
    weights: Mapping[str, float],
    thresholds: Thresholds,
    series: Series | None,
    version: int | None,
) -> Iterator[Criterion]:
    """Against each reference whose rows are enough, those of earlier runs among them."""
    one = measured
    if not _few_rows(*rows, thresholds):
        if one.baseline is not None:
            yield from change_criteria(key, cell.kind, thresholds, one.candidate, one.baseline)
        if one.own is not None:
            yield from change_criteria(key, cell.kind, thresholds, one.candidate, one.own, "own")
    if series is None or one.anchor is None or not sum(weights.values()):
        return
    if series.anchor == version and not series.runs and not series.carried:
        return  # It says what the comparison with the last pushed version does.
    more_positives, more_negatives = series.rows(cell.task, weights)
    positives, negatives, examples = rows
    if positives is not None and negatives is not None:
        positives, negatives = positives + more_positives, negatives + more_negatives
    elif positives is None:
        examples += more_positives
    if _few_rows(positives, negatives, examples, thresholds):
        return
    yield from change_criteria(
        key,
        cell.kind,
        thresholds,
        one.candidate,
        one.anchor,
        "series",
        lambda metric: series.past(cell.task, weights, metric),
    )


def _few_rows(
    positives: int | None, negatives: int | None, rows: int, thresholds: Thresholds
) -> list[tuple[str, int, int]]:
    """What there is too little of: its name, how much there is, and the least there should be."""
    least, least_negatives = thresholds.min_positives or 0, thresholds.min_negatives or 0
    if positives is None or negatives is None:
        # A task without classes needs as many rows as both together, and one at least.
        wanted = [("rows", rows, max(1, least + least_negatives))]
    else:
        wanted = [
            ("positives", positives, max(1, least)),
            ("negatives", negatives, max(1, least_negatives)),
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
    criterion: Criterion,
    decision: Decision,
    measured: Measured,
    version: int | None,
    series: Series | None,
    runs: int,
) -> dict[str, Any]:
    name, place = METRIC_NAMES[criterion.metric], _place(criterion.task, criterion.scenario)
    noise = f"noise alone explains {decision.noise:.4f}"
    failure: dict[str, Any] = {
        "task": criterion.task,
        "scenario": criterion.scenario,
        "metric": criterion.metric,
        "value": criterion.value,
        "threshold": criterion.threshold,
        "kind": criterion.kind,
    }
    beyond = float(criterion.excess.draws[0])
    if criterion.baseline is None:
        side = "below" if criterion.value < criterion.threshold else "above"
        failure["why"] = (
            f"{name} of {place} is {criterion.value:.4f}, {beyond:.4f} {side} "
            f"{criterion.threshold:g}; {noise}"
        )
        return failure
    failure |= {"baseline": criterion.baseline, "against": criterion.against}
    change = criterion.value - criterion.baseline
    allowed = abs(criterion.threshold - criterion.baseline)
    if criterion.against == "series":
        assert series is not None
        failure["interval"] = None
        fall = beyond + allowed
        failure["why"] = (
            f"{name} of {place} lies {fall:.4f} {'below' if change < 0 else 'above'} "
            f"the best of earlier versions over {runs} runs (this one: {criterion.baseline:.4f} of "
            f"version {series.anchor} to {criterion.value:.4f}); allowed are {allowed:.4f}, {noise}"
        )
        return failure
    reference = measured.own if criterion.against == "own" else measured.baseline
    assert reference is not None
    between = measured.candidate[criterion.metric].minus(reference[criterion.metric])
    failure["interval"] = between.interval()
    low, high = failure["interval"] or [math.nan, math.nan]
    own = " with the features of its own run" if criterion.against == "own" else ""
    failure["why"] = (
        f"{name} of {place} {'fell' if change < 0 else 'rose'} from {criterion.baseline:.4f} in "
        f"version {version}{own} to {criterion.value:.4f}, by {change:+.4f} ({low:+.4f} to "
        f"{high:+.4f}); allowed are {allowed:.4f}, {noise}"
    )
    return failure


def _margin(criterion: Criterion, decision: Decision) -> dict[str, Any]:
    return {
        "task": criterion.task,
        "scenario": criterion.scenario,
        "metric": criterion.metric,
        "kind": criterion.kind,
        "against": criterion.against,
        "threshold": criterion.threshold,
        "value": criterion.value,
        "excess": float(criterion.excess.draws[0]),
        "noise": decision.noise if math.isfinite(decision.noise) else None,
    }


def _fall(
    cell: Cell, measured: Measured, thresholds: Thresholds, why: str, version: int | None
) -> Iterator[dict[str, str]]:
    """What is to be said of a cell that is not judged, and fell by more than its own noise."""
    metric = LOSS_KINDS.get(cell.kind, "auc")
    for reference in (measured.own, measured.baseline):
        if reference is None:
            continue
        now, old = measured.candidate[metric], reference[metric]
        change: Estimate = now.minus(old)
        if change.value is None:
            continue
        worse = -change.value if metric == "auc" else change.value
        large = (thresholds.max_noise or math.inf) * (1 if metric == "auc" else old.draws[0])
        if worse > _ONE_SIDED_95 * change.standard_error or worse > large:
            yield {
                "task": cell.task,
                "scenario": cell.scenario,
                "why": f"{METRIC_NAMES[metric]} of {_place(cell.task, cell.scenario)} went from "
                f"{old.draws[0]:.4f} in version {version} to {now.draws[0]:.4f}, by "
                f"{change.value:+.4f}, and blocks nothing: the cell is not judged ({why})",
            }
            return


def _calibration(cell: Cell | RareCells, measured: Measured) -> Iterator[dict[str, str]]:
    """What is to be said of predictions that do not add up."""
    found = measured.candidate.get("calibration")
    if found is None or found.value is None:
        return
    least, most = _CALIBRATION_OFF
    noise = _ONE_SIDED_95 * found.standard_error
    if found.value + noise < least or found.value - noise > most:
        yield {
            "task": cell.task,
            "scenario": cell.scenario,
            "why": f"predictions of {_place(cell.task, cell.scenario)} add up to "
            f"{found.value:.2f} times the positives, {noise:.2f} of which noise explains",
        }


def _open(criterion: Criterion, decision: Decision) -> str:
    name = METRIC_NAMES[criterion.metric]
    if not math.isfinite(criterion.value):
        return f"its {name} is not defined"
    if not math.isfinite(decision.noise):
        return f"the rows of either class are of too few users to tell the noise of its {name}"
    what = f"its {name} is {criterion.value:.4f}"
    if criterion.baseline is not None:
        what = f"its {name} changed by {criterion.value - criterion.baseline:+.4f}"
    if criterion.metric in UNIT and decision.noise >= 1:
        return f"{what}, and its rows are so few that noise explains any change"
    return (
        f"{what}, and noise explains {decision.noise:.4f}, more than the {criterion.most_noise:.4f}"
        " that max_noise allows"
    )


def _place(task: str, scenario: str) -> str:
    return f"{task} over all rows" if scenario == POOL else f"{task} in {scenario}"
