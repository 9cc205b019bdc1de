"""What holds for every backbone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones import dcn_v2, deepfm, hinet, hmoe, mmoe, ple, shared_bottom, star

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M = 9, 14, 3, 4
UNITS = [8, 5]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = np.concatenate([np.arange(M), RNG.integers(M, size=B - M)])

MADE: dict[str, Callable[[], checks.Backbone]] = {
    "shared_bottom": lambda: shared_bottom.SharedBottom(K, units=UNITS),
    "mmoe": lambda: mmoe.Mmoe(K, num_experts=5, expert_units=UNITS),
    "ple": lambda: ple.Ple(K, levels=1, experts_per_task=2, shared_experts=1, expert_units=UNITS),
    "ple of two": lambda: ple.Ple(
        K, levels=2, experts_per_task=2, shared_experts=3, expert_units=UNITS
    ),
    "ple of three": lambda: ple.Ple(
        K, levels=3, experts_per_task=2, shared_experts=1, expert_units=UNITS
    ),
    "hinet": lambda: hinet.HiNet(
        K,
        num_scenarios=M,
        sub_experts=3,
        sub_expert_units=[6],
        scenario_dim=3,
        experts_per_task=2,
        shared_experts=1,
        expert_units=UNITS,
    ),
    "star": lambda: star.Star(K, num_scenarios=M, units=UNITS, scenario_dim=3, auxiliary_units=[6]),
    "hmoe": lambda: hmoe.Hmoe(
        K, num_scenarios=M, num_experts=5, expert_units=UNITS, tower_units=[9, 2]
    ),
    # Three fields of four, and two numbers.
    "deepfm": lambda: deepfm.DeepFm(K, field_dims=[4] * 3, units=UNITS),
    "dcn_v2": lambda: dcn_v2.DcnV2(K, cross_layers=3, units=UNITS, structure="stacked"),
    "dcn_v2 parallel": lambda: dcn_v2.DcnV2(K, cross_layers=3, units=UNITS, structure="parallel"),
    "dcn_v2 of low rank": lambda: dcn_v2.DcnV2(
        K, cross_layers=3, rank=2, units=UNITS, structure="stacked"
    ),
    "dcn_v2 parallel, of low rank": lambda: dcn_v2.DcnV2(
        K, cross_layers=3, rank=2, units=UNITS, structure="parallel"
    ),
}
EVERY_BACKBONE = pytest.mark.parametrize("name", MADE)


def randomized(name: str) -> checks.Backbone:
    backbone = MADE[name]()
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


# Those of scenarios have gradients by scenario, which their own tests look at.
@pytest.mark.parametrize("name", [name for name in MADE if name not in ("hinet", "star")])
def test_every_weight_gets_a_gradient(name: str) -> None:
    checks.every_weight_gets_a_gradient(MADE[name](), IN, M)


@EVERY_BACKBONE
def test_matrices_start_different(name: str) -> None:
    checks.matrices_start_different(MADE[name](), IN)


@EVERY_BACKBONE
def test_an_example_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    checks.an_example_stands_alone(randomized(name), INPUTS, SCENARIO)


@EVERY_BACKBONE
def test_compiles_or_says_that_xla_cannot(name: str) -> None:
    backbone = randomized(name)
    assert backbone.supports_xla == (name not in ("hinet", "star"))
    if backbone.supports_xla:
        checks.compiles(backbone, INPUTS, SCENARIO)
        return
    compiled = tf.function(lambda *args: backbone(*args).hidden, jit_compile=True, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="tf2xla conversion failed"):
        compiled(tf.constant(INPUTS), tf.constant(SCENARIO))


@EVERY_BACKBONE
def test_runs_in_bfloat16(name: str) -> None:
    checks.runs_in_bfloat16(MADE[name], INPUTS, SCENARIO)


@EVERY_BACKBONE
def test_config_round_trip(name: str) -> None:
    checks.round_trips(MADE[name]())
