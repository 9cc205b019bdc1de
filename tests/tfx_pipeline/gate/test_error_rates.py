"""How often the gate errs, on simulated pairs of models; `benchmarks/gate_errors.py` says how."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from tfx_pipeline.config import GateConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import gate_errors  # noqa: E402

CELL = ("click", "nearby")
GATES = [
    GateConfig(draws=400, calibration_band=None),
    GateConfig(draws=400, calibration_band=None, max_auc_drop=0),
]
QUICK = [gate.model_copy(update={"draws": 100}) for gate in GATES]
"""A standard error of 100 draws is 7% off: coarse, and soon there."""
EVERYWHERE = {(task, scenario) for task in gate_errors.RATES for scenario in gate_errors.ROWS}


def at_most(trials: int, share: float) -> float:
    """So many of the trials are exceeded once in a thousand seeds where the share is this."""
    return float(binom.ppf(0.999, trials, share)) / trials


def test_a_few_pairs() -> None:
    """Bounds that a gate with the rates below breaks once in thousands of seeds."""
    number = 6
    for equal in gate_errors.trials(number, QUICK, gate_errors.USUAL, seed=1):
        assert gate_errors.share_blocked(equal) <= at_most(number, 0.05)
        assert all(not trial.left_open - {("follow", "topics")} for trial in equal)
    (lost,) = gate_errors.trials(
        number, QUICK[:1], gate_errors.USUAL, loss=0.06, cells={CELL}, seed=1
    )
    assert sum(CELL in trial.failed for trial in lost) >= number - 1
    assert sum(len(trial.failed - {CELL, ("click", "*")}) for trial in lost) <= 1


def test_a_loss_is_named_within_a_few_runs() -> None:
    bad = gate_errors.worse(gate_errors.good(), 0.04, {CELL})
    job = gate_errors.Job(QUICK[0], np.random.default_rng(4))
    before = [job.run(gate_errors.good()) for _ in range(3)]
    # One run in 20 may be blocked by chance.
    assert sum(map(bool, before)) <= 1 and not any(CELL in failed for failed in before)
    assert job.series is not None and job.series.anchor == min(job.versions)
    assert len(job.series.runs) == len(job.versions) - 1
    assert any(CELL in job.run(bad) for _ in range(4))


@pytest.mark.slow
@pytest.mark.parametrize("correlation", gate_errors.CORRELATIONS)
def test_equal_models_are_blocked_in_one_of_20_trials_at_most(correlation: float) -> None:
    number = 200
    for found in gate_errors.trials(number, GATES, correlation):
        assert gate_errors.share_blocked(found) <= at_most(number, 0.05)
    (edge,) = gate_errors.trials(number, GATES[:1], correlation, 0.005, EVERYWHERE)
    assert gate_errors.share_blocked(edge) <= at_most(number, 0.05)


@pytest.mark.slow
def test_small_falls_that_follow_each_other_are_blocked_before_they_add_up() -> None:
    (claim,) = gate_errors.ratchet(40)
    assert claim["holds"], claim
