"""PLE against its equations in float64."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones import Ple

# Sizes that differ, so that no axis is taken for another.
B, IN, K, P, S = 7, 6, 3, 2, 5
UNITS = [8, 4]
SCENARIO = np.zeros([B], np.int64)


def _made(levels: int, units: list[int] = UNITS) -> tuple[Ple, np.ndarray]:
    """A PLE with all weights random, biases too, and an input."""
    rng = np.random.default_rng(levels)
    ple = Ple(
        K, levels=levels, experts_per_task=P, shared_experts=S, expert_units=units, name="ple"
    )
    inputs = rng.normal(size=(B, IN)).astype(np.float32)
    ple(inputs, SCENARIO)
    for weight in ple.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.7)
    return ple, inputs


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def _kernel(weights: dict[str, np.ndarray], level: int, name: str, n: int) -> np.ndarray:
    return weights[f"level_{level}/{name}/kernel:0"][:, n]


def _expert(weights: dict[str, np.ndarray], level: int, n: int, z: np.ndarray) -> np.ndarray:
    for i in range(1, len(UNITS) + 1):
        bias = weights[f"level_{level}/experts/layer_{i}/bias:0"][n]
        z = np.maximum(z @ _kernel(weights, level, f"experts/layer_{i}", n) + bias, 0)
    return z


def _reference(
    ple: Ple, inputs: np.ndarray, levels: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The equations one example, one task and one expert at a time."""
    weights = {w.name.removeprefix("ple/"): w.numpy().astype(np.float64) for w in ple.weights}
    gates: dict[str, list] = {}
    outputs = []
    for x in inputs.astype(np.float64):
        streams = [x] * (K + 1)
        for level in range(1, levels + 1):
            kernel = functools.partial(_kernel, weights, level)
            expert = functools.partial(_expert, weights, level)
            shared = [expert(K * P + s, streams[K]) for s in range(S)]
            own = [[expert(k * P + p, streams[k]) for p in range(P)] for k in range(K)]
            task_gates = [_softmax(streams[k] @ kernel("task_gates", k)) for k in range(K)]
            gates.setdefault(f"level_{level}/task_gates", []).append(task_gates)
            mixed = [
                sum(g * e for g, e in zip(task_gates[k], own[k] + shared, strict=True))
                for k in range(K)
            ]
            if level < levels:
                gate = _softmax(streams[K] @ kernel("shared_gate", 0))
                gates.setdefault(f"level_{level}/shared_gate", []).append(gate)
                everyone = [e for experts in own for e in experts] + shared
                mixed.append(sum(g * e for g, e in zip(gate, everyone, strict=True)))
            streams = mixed
        outputs.append(streams)
    return np.array(outputs), {name: np.array(values) for name, values in gates.items()}


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equals_the_equations(levels: int) -> None:
    ple, inputs = _made(levels)
    outputs, _, gates = ple(inputs, SCENARIO)
    expected, expected_gates = _reference(ple, inputs, levels)
    assert outputs.shape == (B, K, UNITS[-1])
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=1e-5)
    assert gates.keys() == expected_gates.keys()
    for name, gate in gates.items():
        np.testing.assert_allclose(gate, expected_gates[name], atol=1e-5)


def test_the_last_level_has_no_shared_gate() -> None:
    ple, inputs = _made(2)
    gates = ple(inputs, SCENARIO).intermediates
    assert set(gates) == {"level_1/task_gates", "level_1/shared_gate", "level_2/task_gates"}


def test_gates_sum_to_one_over_experts() -> None:
    ple, inputs = _made(3)
    gates = ple(inputs, SCENARIO).intermediates
    for name, gate in gates.items():
        assert gate.shape[-1] == (K * P + S if "shared" in name else P + S)
        np.testing.assert_allclose(np.sum(gate, axis=-1), 1, atol=1e-6)
        assert np.ptp(gate.numpy(), axis=-1).min() > 0


def test_task_experts_are_private() -> None:
    """The gradient of task 0's output reaches no other task's last-level experts and gates."""
    ple, inputs = _made(1)
    with tf.GradientTape() as tape:
        outputs = ple(inputs, SCENARIO).hidden
        loss = tf.reduce_sum(outputs[:, 0] ** 2)
    weights = {w.name: w for w in ple.trainable_weights}
    gradients = tape.gradient(loss, weights)
    kernel = np.abs(gradients["ple/level_1/experts/layer_2/kernel:0"]).max(axis=(0, 2))
    reached = kernel > 0
    assert reached.tolist() == [True] * P + [False] * P * (K - 1) + [True] * S
    gate = np.abs(gradients["ple/level_1/task_gates/kernel:0"]).max(axis=(0, 2))
    assert (gate > 0).tolist() == [True] + [False] * (K - 1)


def test_refuses_no_levels() -> None:
    with pytest.raises(ValueError, match="`levels` should be at least 1. Received: levels=0"):
        Ple(K, levels=0)
