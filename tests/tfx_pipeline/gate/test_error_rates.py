"""How often the gate errs, on simulated pairs of models; `benchmarks/gate_errors.py` says how."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scipy.stats import binom

from tfx_pipeline.config import GateConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import gate_errors  # noqa: E402

CELL = ("click", "nearby")
GATES = [GateConfig(), GateConfig(max_auc_drop=0)]
QUICK = [gate.model_copy(update={"draws": 100}) for gate in GATES]
"""A standard error of 100 draws is 7% off: coarse, and soon there."""


def test_a_few_pairs() -> None:
    """Bounds that a gate with the rates below breaks once in thousands of seeds."""
    number = 6
    for equal in gate_errors.trials(number, QUICK, gate_errors.USUAL, seed=1):
        assert sum(bool(trial.failed) for trial in equal) <= binom.ppf(0.9999, number, 0.05)
        assert all(not trial.left_open - {("follow", "topics")} for trial in equal)
    (lost,) = gate_errors.trials(number, QUICK[:1], gate_errors.USUAL, lost="click", seed=1)
    named = sum(CELL in trial.failed for trial in lost)
    assert named >= binom.ppf(0.0001, number, 0.8)
    assert sum(len(trial.failed - {CELL, ("click", "*")}) for trial in lost) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("correlation", gate_errors.CORRELATIONS)
def test_equal_models_are_blocked_in_less_than_one_of_20_trials(correlation: float) -> None:
    for found in gate_errors.trials(200, GATES, correlation):
        assert gate_errors.share_blocked(found) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("task", ["click", "long_view"])
def test_a_loss_of_three_points_over_2000_rows_is_blocked_in_four_of_five_trials(task: str) -> None:
    (found,) = gate_errors.trials(200, GATES[:1], gate_errors.USUAL, lost=task)
    assert gate_errors.share_blocked(found, (task, "nearby")) > 0.8
