"""Which thresholds the cells breach, hold, or leave open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t

from tfx_pipeline.config.gate import KINDS_OF_THRESHOLDS, Thresholds
from tfx_pipeline.gate.estimate import Estimate
from tfx_pipeline.gate.series import Past, over_runs
from transforms.task_labels import LabelKind

_SHARE_OF_CHANGES = 0.95
"""Of the chance to err, where there are other criteria too."""

Kind = Literal["floor", "ceiling", "band", "change"]
Against = Literal["pushed", "own", "series"]
"""What a change is against: the last pushed version with the features of this run's examples, the
same with the features of its own run, or the anchor, over the runs since."""

UNIT = ("auc", "gauc")
"""Metrics whose noise is given in points; none changes by more than 1."""


@dataclass(frozen=True)
class Criterion:
    """One threshold of one cell.

    Args:
      task: The cell's.
      scenario: The cell's.
      metric: What is held to it.
      kind: Of the threshold.
      threshold: What the metric must not pass; of a change the baseline's value with the tolerance.
      excess: How far beyond the threshold it is; a breach where it is above 0.
      most_noise: The noise up to which it is judged, in the metric's unit.
      value: The candidate's.
      baseline: What it is compared with, of a change.
      against: Which that is, of a change.
      today: Of a change over several runs, the excess of this one.
    """

    task: str
    scenario: str
    metric: str
    kind: Kind
    threshold: float
    excess: Estimate
    most_noise: float
    value: float
    baseline: float | None = None
    against: Against | None = None
    today: float | None = None


@dataclass(frozen=True)
class Decision:
    """What came of a criterion.

    Args:
      outcome: `open` where it is known too coarsely to say.
      noise: The least breach that would have been told from noise.
    """

    outcome: Literal["fails", "holds", "open"]
    noise: float


def criteria(
    cell: tuple[str, str],
    kind: LabelKind,
    thresholds: Thresholds,
    candidate: Mapping[str, Estimate],
) -> Iterator[Criterion]:
    """The floors, ceilings and bands of a cell; those that nothing can breach are left out.

    Args:
      cell: Its task and scenario.
      kind: The task's.
      thresholds: The cell's.
      candidate: Its metrics, of the candidate.
    """
    given = _given(kind, thresholds)

    def at_least(metric: str, breach: Kind, least: float) -> Criterion:
        now = candidate[metric]
        excess = Estimate(least - now.draws, now.degrees)
        return _criterion(cell, thresholds, metric, breach, least, excess, candidate)

    def at_most(metric: str, breach: Kind, most: float) -> Criterion:
        now = candidate[metric]
        excess = Estimate(now.draws - most, now.degrees)
        return _criterion(cell, thresholds, metric, breach, most, excess, candidate)

    for name, metric in (("auc_floor", "auc"), ("gauc_floor", "gauc")):
        if given.get(name):
            yield at_least(metric, "floor", given[name])
    for metric in ("logloss", "normalized_entropy"):
        if f"max_{metric}" in given:
            yield at_most(metric, "ceiling", given[f"max_{metric}"])
    if thresholds.calibration_band and "calibration_band" in given:
        yield at_least("calibration", "band", thresholds.calibration_band[0])
        yield at_most("calibration", "band", thresholds.calibration_band[1])


def change_criteria(
    cell: tuple[str, str],
    kind: LabelKind,
    thresholds: Thresholds,
    candidate: Mapping[str, Estimate],
    reference: Mapping[str, Estimate],
    against: Against = "pushed",
    past: Callable[[str], Past] | None = None,
) -> Iterator[Criterion]:
    """How far a cell may lie below another model.

    Args:
      cell: Its task and scenario.
      kind: The task's.
      thresholds: The cell's.
      candidate: Its metrics, of the candidate.
      reference: Likewise of the other model, on the same rows.
      against: Which model that is.
      past: Of a series, gives what earlier runs say of a metric.
    """
    given = _given(kind, thresholds)
    loss = "mse" if kind == "regression" else "logloss"
    for name, metric, times, less, sign in (
        ("max_auc_drop", "auc", 0, 1, -1),
        ("max_auc_drop_relative", "auc", 1, 0, -1),
        ("max_gauc_drop", "gauc", 0, 1, -1),
        ("max_logloss_rise", loss, 1, 0, 1),
        ("max_loss_rise", loss, 1, 0, 1),
    ):
        tolerance = given.get(name)
        if tolerance is None or (sign < 0 and tolerance == 1):
            continue
        # The limit is (1 +- tolerance) * baseline, or baseline +- tolerance.
        now, old = candidate[metric], reference[metric]
        limit = Estimate(
            (1 + sign * times * tolerance) * old.draws + sign * less * tolerance, old.degrees
        )
        excess = now.minus(limit) if sign > 0 else limit.minus(now)
        today = None
        if past is not None:
            today = float(excess.draws[0])
            excess = over_runs(excess, past(metric), sign, float(old.draws[0] - limit.draws[0]))
        yield _criterion(
            cell,
            thresholds,
            metric,
            "change",
            float(limit.draws[0]),
            excess,
            candidate,
            float(old.draws[0]),
            against,
            today,
        )


def _given(kind: LabelKind, thresholds: Thresholds) -> dict[str, float]:
    return {
        name: value
        for name, value in thresholds.given.items()
        if kind in KINDS_OF_THRESHOLDS.get(name, ())
    }


def _criterion(
    cell: tuple[str, str],
    thresholds: Thresholds,
    metric: str,
    kind: Kind,
    threshold: float,
    excess: Estimate,
    candidate: Mapping[str, Estimate],
    baseline: float | None = None,
    against: Against | None = None,
    today: float | None = None,
) -> Criterion:
    noise = math.inf
    # The sum of few positives is so coarse that bands would leave most cells open; in these the
    # AUC and the positives say what there is to judge by.
    if kind != "band" and thresholds.max_noise is not None:
        noise = thresholds.max_noise * (1 if metric in UNIT else abs(threshold))
    value = float(candidate[metric].draws[0])
    return Criterion(*cell, metric, kind, threshold, excess, noise, value, baseline, against, today)


def decide(criteria: Sequence[Criterion], confidence: float) -> list[Decision]:
    """Tells breaches from noise.

    A criterion fails where a one-sided t test says that its threshold, the tolerance included, is
    passed. Holm's procedure over all tests keeps the chance that a candidate that passes no
    threshold is said to fail in any below 1 - confidence, however they depend on each other, and
    also where it lies on the edge of all. Changes get most of that chance: floors and the like are
    seldom near, and can do with less.

    A change over several runs fails only where the rows of this run say so too: it is this
    candidate that is judged.

    A criterion that does not fail is open where the noise is above what it is judged up to, unless
    it keeps clear of its threshold by more than the noise.

    Args:
      criteria: All that are tested, of all cells.
      confidence: Of all of them together.

    Returns:
      One each.

    Reference: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 1979.
    """
    changes = [criterion.kind == "change" for criterion in criteria]
    shares = {True: _SHARE_OF_CHANGES, False: 1 - _SHARE_OF_CHANGES}
    decisions: dict[int, Decision] = {}
    for are_changes in set(changes):
        family = [i for i, is_change in enumerate(changes) if is_change == are_changes]
        share = shares[are_changes] if len(set(changes)) == 2 else 1
        level = share * (1 - confidence)
        passed = holm(np.array([_p_value(criteria[i].excess) for i in family]), level)
        for i, is_passed in zip(family, passed, strict=True):
            today = criteria[i].today
            failed = bool(is_passed) and (today is None or today > 0)
            decisions[i] = _decision(criteria[i], failed, level / len(family))
    return [decisions[i] for i in range(len(criteria))]


def _decision(criterion: Criterion, failed: bool, level: float) -> Decision:
    excess, noise = criterion.excess, math.inf
    if excess.degrees >= 1:
        noise = float(t.isf(level, excess.degrees)) * excess.standard_error
    if failed:
        return Decision("fails", noise)
    if noise <= criterion.most_noise or float(excess.draws[0]) + noise < 0:
        return Decision("holds", noise)
    return Decision("open", noise)


def holm(p_values: np.ndarray, level: float) -> np.ndarray:
    """Which hypotheses Holm's procedure rejects at a family-wise level, bool [m]."""
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    rejected = np.zeros(len(p_values), bool)
    rejected[order] = np.logical_and.accumulate(steps)
    return rejected


def _p_value(excess: Estimate) -> float:
    error = excess.standard_error
    if excess.value is None or not np.isfinite(error):
        return 1.0
    if error == 0:
        return float(excess.value <= 0)
    return float(t.sf(excess.value / error, excess.degrees))
