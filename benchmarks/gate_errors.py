"""How often the gate errs: on two equal models, and on one that lost AUC in one cell.

    python benchmarks/gate_errors.py [--trials 200]

A trial draws a log of 4 correlated tasks and 5 scenarios of very unequal size, the smallest of 500
rows, and the scores of two models: with the pool 24 cells, judged as the gate judges them, floors
included. A row's true logit is made of a part that its tasks share, a part of its own, and the
user's. A model's score is

    true logit + noise that both models share (what neither can know) + noise of its own

and its own noise is such that the two models' scores correlate as asked for: two trainings of one
config on KuaiRand, or of two presets, have logits with a correlation of .93 to .99 in its cells.
Equal models have equal own noise, so that one is as good as the other; which noise they drew still
sets their AUCs apart on the rows at hand. The model that lost has, in the cell of 2,000 rows and
one task, as much more noise as takes .03 off its AUC (found on 300,000 rows).

The last line is the claims as JSON: equal models are blocked in under 5% of the trials, with the
default tolerance and with none; the loss is blocked, by that cell, in over 80%, whichever the task.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_models.metrics import auc
from tfx_pipeline.config import GateConfig
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.estimate import estimates
from tfx_pipeline.gate.judge import Criterion, criteria, decide

RATES = {"click": 0.35, "long_view": 0.25, "like": 0.1, "follow": 0.05}
"""Tasks, and their shares of positives."""
ROWS = {"feed": 12_000, "search": 5_000, "nearby": 2_000, "friends": 800, "topics": 500}
"""Scenarios, and their rows."""
USERS = 8_000
LOSS = 0.03
CORRELATIONS = (0.93, 0.97, 0.99)
USUAL = 0.97
"""Median of KuaiRand's cells between two seeds of one config."""
_LARGE = 300_000
_SHARED_NOISE = 0.6
_SPREAD = 1.1


@dataclass
class Pair:
    """A log and two models' scores.

    Args:
      users: [R].
      scenario: [R].
      labels: By task, bool [R].
      baseline: By task, [R].
      candidate: Likewise.
    """

    users: np.ndarray
    scenario: np.ndarray
    labels: dict[str, np.ndarray]
    baseline: dict[str, np.ndarray]
    candidate: dict[str, np.ndarray]


def own_noise(correlation: float) -> float:
    """Standard deviation of a model's own noise, for a correlation of the models' scores."""
    common = _SPREAD**2 + _SHARED_NOISE**2
    return float(np.sqrt(common * (1 - correlation) / correlation))


def draw(rng: np.random.Generator, correlation: float, more: Mapping[str, float]) -> Pair:
    """A trial.

    Args:
      rng: Draws it.
      correlation: Of the two models' scores.
      more: By task, standard deviation of the candidate's further noise in `nearby`.
    """
    rows = sum(ROWS.values())
    scenario = np.repeat(list(ROWS), list(ROWS.values()))
    # A user has between one row and some dozens, as in logs.
    activity = rng.lognormal(0, 1, USERS)
    users = rng.choice(USERS, rows, p=activity / activity.sum())
    shared = rng.normal(size=rows)
    own = own_noise(correlation)
    pair = Pair(users, scenario, {}, {}, {})
    for task, rate in RATES.items():
        logit = _true_logit(rng, rate, shared, rng.normal(size=USERS)[users])
        pair.labels[task] = rng.random(rows) < 1 / (1 + np.exp(-logit))
        known = logit + _SHARED_NOISE * rng.normal(size=rows)
        pair.baseline[task] = known + own * rng.normal(size=rows)
        pair.candidate[task] = known + own * rng.normal(size=rows)
        if task in more:
            lost = more[task] * rng.normal(size=rows)
            pair.candidate[task] += np.where(scenario == "nearby", lost, 0)
    return pair


def _true_logit(
    rng: np.random.Generator, rate: float, shared: np.ndarray, of_user: np.ndarray
) -> np.ndarray:
    parts = 0.7 * shared + 0.5 * rng.normal(size=len(shared)) + 0.5 * of_user
    return np.log(rate / (1 - rate)) + _SPREAD * parts / np.sqrt(0.7**2 + 0.5**2 + 0.5**2)


def noise_of_loss(task: str, correlation: float) -> float:
    """Standard deviation of the noise that takes `LOSS` off a model's AUC."""
    rng = np.random.default_rng(7)
    logit = _true_logit(rng, RATES[task], *rng.normal(size=[2, _LARGE]))
    labels = rng.random(_LARGE) < 1 / (1 + np.exp(-logit))
    own = np.hypot(own_noise(correlation), _SHARED_NOISE)
    scores, further = logit + own * rng.normal(size=_LARGE), rng.normal(size=_LARGE)
    wanted = (auc(labels, scores) or 0) - LOSS
    low, high = 0.0, 4.0
    for _ in range(14):
        middle = (low + high) / 2
        if (auc(labels, scores + middle * further) or 0) > wanted:
            low = middle
        else:
            high = middle
    return high


Cells = set[tuple[str, str]]


@dataclass
class Trial:
    """What the gate says of a pair.

    Args:
      failed: Cells that fail.
      left_open: Cells that it could not judge, for noise or for want of positives.
    """

    failed: Cells
    left_open: Cells


def judged(pair: Pair, gates: Sequence[GateConfig]) -> list[Trial]:
    """Judges a pair by each of some configs."""
    bootstrap = UserBootstrap(pair.users, gates[0].draws)
    measured = {}
    for task, labels in pair.labels.items():
        for scenario in ["*", *ROWS]:
            rows = np.flatnonzero((pair.scenario == scenario) | (scenario == "*"))
            if labels[rows].sum() < (gates[0].min_positives or 0):
                continue
            measured[task, scenario] = [
                estimates("binary", bootstrap, rows, labels, scores[task])
                for scores in (pair.candidate, pair.baseline)
            ]
    few = {(task, scenario) for task in RATES for scenario in ["*", *ROWS]} - set(measured)
    found = []
    for gate in gates:
        held: list[Criterion] = []
        for cell, (candidate, baseline) in measured.items():
            held += criteria(cell, "binary", gate.of(*cell), candidate, baseline)
        trial = Trial(set(), set(few))
        for criterion, decision in zip(held, decide(held, gate.confidence), strict=True):
            cell = (criterion.task, criterion.scenario)
            if decision.outcome == "fails":
                trial.failed.add(cell)
            elif decision.outcome == "open":
                trial.left_open.add(cell)
        found.append(trial)
    return found


def trials(
    number: int,
    gates: Sequence[GateConfig],
    correlation: float,
    lost: str | None = None,
    seed: int = 0,
) -> list[list[Trial]]:
    """Judges so many pairs.

    Args:
      number: Of trials.
      gates: The configs to judge by; alike but for tolerances.
      correlation: Of the two models' scores.
      lost: Task that lost AUC in `nearby`, if any.
      seed: Of the trials.

    Returns:
      For each config its trials.
    """
    more = {} if lost is None else {lost: noise_of_loss(lost, correlation)}
    rngs = np.random.default_rng(seed).spawn(number)
    found = [judged(draw(rng, correlation, more), gates) for rng in rngs]
    return [list(one) for one in zip(*found, strict=True)]


def share_blocked(found: Sequence[Trial], cell: tuple[str, str] | None = None) -> float:
    """Share of trials in which any cell, or this one, fails."""
    return float(np.mean([cell in t.failed if cell else bool(t.failed) for t in found]))


def main() -> None:
    """Prints the rates and the claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    number = parser.parse_args().trials
    default = GateConfig()
    claims = []
    print(f"{'models':<22} {'correlation':>11} {'tolerance':>9} {'blocked':>8} {'not judged':>10}")
    gates = [default, GateConfig(max_auc_drop=0)]
    blocked: dict[float, dict[str, float]] = {gate.max_auc_drop or 0: {} for gate in gates}
    for correlation in CORRELATIONS:
        for gate, found in zip(gates, trials(number, gates, correlation), strict=True):
            share = share_blocked(found)
            blocked[gate.max_auc_drop or 0][str(correlation)] = share
            _print("equal", correlation, gate, share, found)
    for tolerance, shares in blocked.items():
        claims.append(
            {
                "name": f"gate_blocks_equal_models_at_tolerance_{tolerance:g}",
                "value": max(shares.values()),
                "unit": "share of trials",
                "target": 0.05,
                "holds": max(shares.values()) < 0.05,
                "details": {"trials": number, "by_correlation": shares},
            }
        )
    for task, rate in RATES.items():
        shares = {}
        for correlation in CORRELATIONS if task == "click" else [USUAL]:
            (found,) = trials(number, [default], correlation, lost=task)
            share = share_blocked(found, (task, "nearby"))
            shares[str(correlation)] = share
            _print(f"{LOSS} lost: {task}", correlation, default, share, found)
        claims.append(
            {
                "name": f"gate_blocks_a_loss_of_{task}",
                "value": shares[str(USUAL)],
                "unit": "share of trials",
                "target": 0.8,
                "holds": shares[str(USUAL)] > 0.8,
                "details": {
                    "trials": number,
                    "by_correlation": shares,
                    "rows": ROWS["nearby"],
                    "positives": rate,
                },
            }
        )
    print(json.dumps(claims))


def _print(
    models: str, correlation: float, gate: GateConfig, blocked: float, found: Sequence[Trial]
) -> None:
    left_open = np.mean([len(trial.left_open) for trial in found])
    print(
        f"{models:<22} {correlation:>11} {gate.max_auc_drop:>9} {blocked:>8.3f} {left_open:>10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
