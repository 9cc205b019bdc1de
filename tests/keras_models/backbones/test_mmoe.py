"""MMoE against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.mmoe import Mmoe

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, E, M = 7, 6, 3, 5, 2
UNITS = [8, 4]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = RNG.integers(M, size=B)


def _make() -> Mmoe:
    return Mmoe(K, num_experts=E, expert_units=UNITS, name="mmoe")


def _made() -> Mmoe:
    backbone = _make()
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def _reference(weights: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The equations one example, one task and one expert at a time."""
    hidden, gates = [], []
    for x in INPUTS.astype(np.float64):
        experts = [checks.mlp(weights, "experts/layer_", e, x) for e in range(E)]
        own = [checks.softmax(x @ weights["gates/kernel"][:, k]) for k in range(K)]
        gates.append(own)
        hidden.append([sum(g * f for g, f in zip(own[k], experts, strict=True)) for k in range(K)])
    return np.array(hidden), np.array(gates)


def test_equals_the_equations() -> None:
    backbone = _made()
    output = backbone(INPUTS, SCENARIO)
    hidden, gates = _reference(checks.weights_of(backbone))
    assert output.hidden.shape == (B, K, UNITS[-1])
    np.testing.assert_allclose(output.hidden, hidden, atol=1e-5, rtol=1e-5)
    assert output.logits is None
    assert set(output.intermediates) == {"task_gates"}
    np.testing.assert_allclose(output.intermediates["task_gates"], gates, atol=1e-5)


def test_gates_sum_to_one_over_experts() -> None:
    gates = _made()(INPUTS, SCENARIO).intermediates["task_gates"]
    assert gates.shape == (B, K, E)
    np.testing.assert_allclose(np.sum(gates, axis=2), 1, atol=1e-6)
    assert np.ptp(gates.numpy(), axis=2).min() > 0


def test_gates_are_private_and_experts_are_shared() -> None:
    backbone = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(INPUTS, SCENARIO).hidden[:, 1] ** 2)
    weights = {weight.name: weight for weight in backbone.trainable_weights}
    gradients = tape.gradient(loss, weights)
    reached = np.abs(gradients["mmoe/gates/kernel:0"]).max(axis=(0, 2)) > 0
    assert reached.tolist() == [False, True, False]
    assert np.abs(gradients["mmoe/experts/layer_2/kernel:0"]).max(axis=(0, 2)).min() > 0


def test_refuses_a_gate_over_one_expert() -> None:
    with pytest.raises(ValueError, match="`num_experts` should be at least 2. Received: .*=1"):
        Mmoe(K, num_experts=1)
