"""How often the gate errs: on equal models, on models that lost AUC, and on series of them.

    python benchmarks/gate_errors.py [--trials 200] [--only NAME]

A trial draws days of a log of 4 correlated tasks and 5 scenarios of very unequal size, the smallest
of 500 rows, and scores of models: with the pool 24 cells, judged as the gate judges them, floors
included. A row's true logit is made of a part that its tasks share, a part of its own, and the
user's. A model's score is

    true logit + noise that all models share (what none can know) + noise of its own

and its own noise is such that two models' scores correlate as asked for: two trainings of one
config on KuaiRand, or of two presets, have logits with a correlation of .93 to .99 in its cells.
Equal models have equal own noise, so that one is as good as the other; which noise they drew still
sets their AUCs apart on the rows at hand. A model that lost has as much more noise as takes so much
off its AUC (found on 300,000 rows).

The AUC's draws are those of the gate's bootstrap to first order, by the placement values of the
rows: that takes a twentieth of the time. `--only exact` holds them against those of the gate.

The last line is the claims as JSON; what each block of the output is, says its head.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binom, rankdata

from keras_models.metrics import auc
from tfx_pipeline.config import GateConfig
from tfx_pipeline.evaluation import POOL, Cell
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.estimate import Estimate, effective_users, estimates
from tfx_pipeline.gate.measure import Measured
from tfx_pipeline.gate.series import Series
from tfx_pipeline.gate.series_of_cells import series_after
from tfx_pipeline.gate.verdict import judge

RATES = {"click": 0.35, "long_view": 0.25, "like": 0.1, "follow": 0.05}
"""Tasks, and their shares of positives."""
ROWS = {"feed": 12_000, "search": 5_000, "nearby": 2_000, "friends": 800, "topics": 500}
"""Scenarios, and their rows."""
USERS = 8_000
LOSS = 0.03
CORRELATIONS = (0.93, 0.97, 0.99)
USUAL = 0.97
"""Median of KuaiRand's cells between two seeds of one config."""
GATE: dict[str, Any] = {"draws": 200, "calibration_band": None}
"""Other than the defaults: scores are no probabilities here."""
SEEDS = 0.0021
"""Standard deviation of the true AUC of trainings from different seeds: pairs differ by .003."""
_LARGE = 300_000
_SHARED_NOISE = 0.6
_SPREAD = 1.1

Model = Mapping[tuple[str, str], float]
"""By task and scenario, variance of a model's own noise."""
Cells = set[tuple[str, str]]


def own_variance(correlation: float) -> float:
    """Variance of a model's own noise, for a correlation of two models' scores."""
    return (_SPREAD**2 + _SHARED_NOISE**2) * (1 - correlation) / correlation


@dataclass
class Day:
    """Rows of a day.

    Args:
      bootstrap: Over their users.
      scenario: [R].
      labels: By task, bool [R].
      known: By task, what a perfect training would score, [R].
      rng: Draws the models' own noise.
    """

    bootstrap: UserBootstrap
    scenario: np.ndarray
    labels: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    rng: np.random.Generator

    def rows(self, scenario: str) -> np.ndarray:
        """Indices of a scenario's rows."""
        return np.flatnonzero((self.scenario == scenario) | (scenario == POOL))

    def scores(self, model: Model, task: str) -> np.ndarray:
        """What a model says, [R]."""
        spread = np.sqrt(np.repeat([model[task, s] for s in ROWS], list(ROWS.values())))
        return self.known[task] + spread * self.rng.normal(size=len(spread))

    def measured(self, model: Model) -> dict[tuple[str, str], Estimate]:
        """The AUC of every cell."""
        found = {}
        for task, labels in self.labels.items():
            scores = self.scores(model, task)
            for scenario in [POOL, *ROWS]:
                rows = self.rows(scenario)
                found[task, scenario] = first_order(self.bootstrap, rows, labels, scores)
        return found

    def cells(self) -> list[Cell]:
        """As the Evaluator gives them."""
        return [
            Cell(task, s, len(rows := self.rows(s)), int(labels[rows].sum()))
            for task, labels in self.labels.items()
            for s in [POOL, *ROWS]
        ]


def draw(rng: np.random.Generator, draws: int) -> Day:
    """A day of a log."""
    rows = sum(ROWS.values())
    scenario = np.repeat(list(ROWS), list(ROWS.values()))
    # A user has between one row and some dozens, as in logs.
    activity = rng.lognormal(0, 1, USERS)
    users = rng.choice(USERS, rows, p=activity / activity.sum())
    shared = rng.normal(size=rows)
    day = Day(UserBootstrap(users, draws), scenario, {}, {}, rng)
    for task, rate in RATES.items():
        logit = _true_logit(rng, rate, shared, rng.normal(size=USERS)[users])
        day.labels[task] = rng.random(rows) < 1 / (1 + np.exp(-logit))
        day.known[task] = logit + _SHARED_NOISE * rng.normal(size=rows)
    return day


def _true_logit(
    rng: np.random.Generator, rate: float, shared: np.ndarray, of_user: np.ndarray
) -> np.ndarray:
    parts = 0.7 * shared + 0.5 * rng.normal(size=len(shared)) + 0.5 * of_user
    return np.log(rate / (1 - rate)) + _SPREAD * parts / np.sqrt(0.7**2 + 0.5**2 + 0.5**2)


def first_order(
    bootstrap: UserBootstrap, rows: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> Estimate:
    """The AUC, its draws to first order in how often each user is drawn."""
    user, positive = bootstrap.user[rows], labels[rows]
    ranks = rankdata(scores[rows])
    own = np.where(positive, rankdata(np.where(positive, scores[rows], np.inf)), 0)
    own = np.where(positive, own, rankdata(np.where(positive, np.inf, scores[rows])))
    number, others = positive.sum(), (~positive).sum()
    won = np.where(positive, (ranks - own) / others, 1 - (ranks - own) / number)
    value = won[positive].mean()
    effect = (won - value) / np.where(positive, number, others)
    draws = value + bootstrap.sums(user, effect[:, None])[0]
    draws[0] = value
    degrees = min(effective_users(user[positive]), effective_users(user[~positive])) - 1
    return Estimate(draws, degrees)


def variance_of_loss(task: str, loss: float, correlation: float) -> float:
    """Variance of the further noise that takes so much off a model's AUC."""
    rng = np.random.default_rng(7)
    logit = _true_logit(rng, RATES[task], *rng.normal(size=[2, _LARGE]))
    labels = rng.random(_LARGE) < 1 / (1 + np.exp(-logit))
    own = np.sqrt(own_variance(correlation) + _SHARED_NOISE**2)
    scores, further = logit + own * rng.normal(size=_LARGE), rng.normal(size=_LARGE)
    wanted = (auc(labels, scores) or 0) - loss
    low, high = 0.0, 4.0
    for _ in range(14):
        middle = (low + high) / 2
        if (auc(labels, scores + middle * further) or 0) > wanted:
            low = middle
        else:
            high = middle
    return high**2


def good(correlation: float = USUAL) -> dict[tuple[str, str], float]:
    """A model that lost nothing."""
    return {(task, s): own_variance(correlation) for task in RATES for s in ROWS}


def worse(
    model: Model, loss: float, cells: Cells, correlation: float = USUAL
) -> dict[tuple[str, str], float]:
    """The same with so much less AUC in some cells."""
    more = {task: variance_of_loss(task, loss, correlation) for task in {t for t, _ in cells}}
    return {cell: v + (more[cell[0]] if cell in cells else 0) for cell, v in model.items()}


@dataclass
class Trial:
    """What the gate says of a run.

    Args:
      failed: Cells that fail.
      left_open: Cells that it could not judge, for noise or for want of positives.
      series: What the candidate's card would hold.
    """

    failed: Cells
    left_open: Cells
    series: Series | None = None


def judged(day: Day, models: Mapping[str, Model], gates: Sequence[GateConfig]) -> list[Trial]:
    """Judges a candidate against a baseline by each of some configs, as a first comparison."""
    found = {name: day.measured(model) for name, model in models.items()}
    measured = {
        cell: Measured(day.rows(cell[1]), {"auc": new}, {"auc": found["baseline"][cell]})
        for cell, new in found["candidate"].items()
    }
    trials = []
    for gate in gates:
        result = judge(day.cells(), measured, gate, 1)
        failed = {(f["task"], f["scenario"]) for f in result.failures}
        trials.append(Trial(failed, {(n["task"], n["scenario"]) for n in result.not_judged}))
    return trials


def trials(
    number: int,
    gates: Sequence[GateConfig],
    correlation: float,
    loss: float = 0.0,
    cells: Cells | None = None,
    seed: int = 0,
) -> list[list[Trial]]:
    """Judges so many pairs.

    Args:
      number: Of trials.
      gates: The configs to judge by; alike but for tolerances.
      correlation: Of the two models' scores.
      loss: AUC that the candidate lost in some cells.
      cells: Which.
      seed: Of the trials.

    Returns:
      For each config its trials.
    """
    baseline = good(correlation)
    models = {
        "baseline": baseline,
        "candidate": worse(baseline, loss, cells, correlation) if cells else baseline,
    }
    rngs = np.random.default_rng(seed).spawn(number)
    found = [judged(draw(rng, gates[0].draws), models, gates) for rng in rngs]
    return [list(one) for one in zip(*found, strict=True)]


@dataclass
class Job:
    """A daily job: each run's candidate is judged, and pushed where it is blessed.

    Args:
      gate: The config.
      rng: Draws the days.
      versions: Those that were pushed, by number.
      series: From the newest one's card.
    """

    gate: GateConfig
    rng: np.random.Generator
    versions: dict[int, Model] = field(default_factory=dict)
    series: Series | None = None
    runs: int = 0

    def run(self, candidate: Model) -> Cells:
        """Judges the next day's candidate; gives the cells that fail."""
        self.runs += 1
        day = draw(self.rng, self.gate.draws)
        found = day.measured(candidate)
        version = max(self.versions, default=None)
        baseline = anchor = None
        series = self.series
        if series is not None and version is not None:
            number = series.anchor or version
            series = series.model_copy(update={"anchor": number})
            baseline = day.measured(self.versions[version])
            anchor = baseline if number == version else day.measured(self.versions[number])
        measured = {
            cell: Measured(
                day.rows(cell[1]),
                {"auc": new},
                {"auc": baseline[cell]} if baseline else None,
                None,
                {"auc": anchor[cell]} if anchor else None,
            )
            for cell, new in found.items()
        }
        result = judge(day.cells(), measured, self.gate, version, series)
        if not result.failures:
            days = (self.runs, self.runs)
            self.series = series_after(series, day.cells(), measured, days, model="", scores="")
            self.versions[self.runs] = candidate
        return {(f["task"], f["scenario"]) for f in result.failures}


def share_blocked(found: Sequence[Trial], cell: tuple[str, str] | None = None) -> float:
    """Share of trials in which any cell, or this one, fails."""
    return float(np.mean([cell in t.failed if cell else bool(t.failed) for t in found]))


def _claim(
    name: str, value: float, target: float, below: bool, trials: int, **details: Any
) -> dict[str, Any]:
    """A rate that should be below its target holds up to what chance adds once in a thousand."""
    holds = value <= binom.ppf(0.999, trials, target) / trials if below else value > target
    return {
        "name": name,
        "value": value,
        "unit": "share of trials",
        "target": target,
        "holds": bool(holds),
        "details": {"trials": trials, **details},
    }


def pairs(number: int) -> list[dict[str, Any]]:
    """One day: equal models, models on the edge of the tolerance, and a loss in one cell."""
    default, none = GateConfig(**GATE), GateConfig(max_auc_drop=0, **GATE)
    everywhere = {(task, s) for task in RATES for s in ROWS}
    claims = []
    for correlation in CORRELATIONS:
        found = trials(number, [default, none], correlation)
        edge = trials(number, [default], correlation, default.max_auc_drop or 0, everywhere)
        shares = [share_blocked(one) for one in [*found, *edge]]
        left_open = np.mean([len(trial.left_open) for trial in found[0]])
        print(
            f"pairs, correlation {correlation}: equal, tolerance {default.max_auc_drop:g}: "
            f"{shares[0]:.3f}; equal, tolerance 0: {shares[1]:.3f}; on the edge of "
            f"{default.max_auc_drop:g} in all cells: {shares[2]:.3f}; not judged {left_open:.1f}",
            flush=True,
        )
        for name, share in zip(("default", "none", "edge"), shares, strict=True):
            claims.append(_claim(f"gate_blocks_{name}_{correlation}", share, 0.05, True, number))
    return claims


def lost(number: int) -> list[dict[str, Any]]:
    """A loss of .03 in `nearby` that stays, from the fourth run of a job on: when it is named."""
    claims = []
    for task, rate in RATES.items():
        bad = worse(good(), LOSS, {(task, "nearby")})
        first = []
        for rng in np.random.default_rng(1).spawn(number):
            job = Job(GateConfig(**GATE), rng)
            for _ in range(3):
                job.run(good())
            named = [(task, "nearby") in job.run(bad) for _ in range(5)]
            first.append(named.index(True) if any(named) else len(named))
        within = [float(np.mean(np.array(first) < k)) for k in range(1, 6)]
        print(
            f"{LOSS} lost: {task} ({rate:.0%} positives), named within 1 to 5 runs: "
            f"{' '.join(f'{share:.2f}' for share in within)}",
            flush=True,
        )
        details = {"within": within, "rows": ROWS["nearby"], "positives": rate}
        claims.append(
            _claim(f"gate_names_a_loss_of_{task}", within[2], 0.6, False, number, **details)
        )
    return claims


def series(number: int) -> list[dict[str, Any]]:
    """Jobs of 10 runs: of equal models, and of models that differ as trainings do."""
    unit = {task: variance_of_loss(task, 3 * SEEDS, USUAL) for task in RATES}

    def equal(rng: np.random.Generator) -> Model:
        return good()

    def of_seeds(rng: np.random.Generator) -> Model:
        # About a mean that is 3 deviations below the best, so that none is better than that.
        steps = {task: max(0.0, 1 + rng.normal() / 3) for task in RATES}
        return {cell: v + steps[cell[0]] * unit[cell[0]] for cell, v in good().items()}

    claims = []
    kinds: dict[str, Callable[[np.random.Generator], Model]] = {
        "equal": equal,
        "of other seeds": of_seeds,
    }
    for name, make in kinds.items():
        for tolerance in (0.0, GateConfig().max_auc_drop or 0):
            blocked = []
            for rng in np.random.default_rng(2).spawn(number // 4):
                job = Job(GateConfig(max_auc_drop=tolerance, **GATE), rng)
                blocked += [bool(job.run(make(rng))) for _ in range(11)][1:]
            share = float(np.mean(blocked))
            print(f"series, {name}, tolerance {tolerance:g}: blocked {share:.3f}", flush=True)
            if name == "of other seeds" and not tolerance:
                continue  # They do differ: to block them is no error.
            label = f"gate_blocks_runs_{name.replace(' ', '_')}_at_{tolerance:g}"
            claims.append(_claim(label, share, 0.05, True, len(blocked)))
    return claims


def ratchet(number: int) -> list[dict[str, Any]]:
    """Every run's model lies .002 below the one before, in all cells: when that is blocked."""
    step, most = 0.002, 12
    everywhere = {(task, s) for task in RATES for s in ROWS}
    models = [worse(good(), i * step, everywhere) if i else good() for i in range(most)]
    fallen = []
    for rng in np.random.default_rng(3).spawn(number // 4):
        job = Job(GateConfig(**GATE), rng)
        blocked = [bool(job.run(model)) for model in models]
        fallen.append(blocked.index(True) * step if any(blocked) else most * step)
    print(
        f"ratchet of {step}: blocked when {np.mean(fallen):.4f} below the first on average, "
        f"at most {max(fallen):.4f}",
        flush=True,
    )
    share = float(np.mean(np.array(fallen) <= 0.014))
    return [_claim("gate_blocks_a_ratchet_before_0.015", share, 0.9, False, len(fallen))]


def exact(number: int) -> list[dict[str, Any]]:
    """Standard errors of AUC differences to first order over those of the gate's bootstrap."""
    ratios = []
    for rng in np.random.default_rng(4).spawn(max(1, number // 50)):
        day = draw(rng, 400)
        for task, labels in day.labels.items():
            one, two = day.scores(good(), task), day.scores(good(), task)
            for s in [POOL, *ROWS]:
                rows = day.rows(s)
                a, b = (first_order(day.bootstrap, rows, labels, x) for x in (one, two))
                c, d = (
                    estimates("binary", day.bootstrap, rows, labels, x)["auc"] for x in (one, two)
                )
                ratios.append(a.minus(b).standard_error / c.minus(d).standard_error)
    print(
        f"first order over exact standard errors: mean {np.mean(ratios):.3f}, "
        f"{min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} cells"
    )
    return []


BLOCKS = {f.__name__: f for f in (exact, pairs, lost, series, ratchet)}


def main() -> None:
    """Prints the rates and the claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--only", choices=BLOCKS)
    arguments = parser.parse_args()
    claims = []
    for name, block in BLOCKS.items():
        if arguments.only in (None, name):
            claims += block(arguments.trials)
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
