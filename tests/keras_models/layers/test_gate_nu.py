"""Gate NU against its equation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.gate_nu import GateNu
from keras_models.precision import precision

B, IN, HIDDEN, UNITS, GAMMA = 7, 5, 6, [4, 3], 1.7


def _made() -> tuple[GateNu, np.ndarray]:
    """Gates with all weights random, biases too, and an input."""
    rng = np.random.default_rng(0)
    layer = GateNu(UNITS, hidden_units=HIDDEN, gamma=GAMMA, name="gates")
    inputs = rng.normal(size=(B, IN)).astype(np.float32)
    layer(inputs)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer, inputs


def _reference(layer: GateNu, inputs: np.ndarray) -> list[np.ndarray]:
    weights = {w.name.removeprefix("gates/"): w.numpy().astype(np.float64) for w in layer.weights}
    gates: list[list[np.ndarray]] = [[] for _ in UNITS]
    for x in inputs.astype(np.float64):
        for n, values in enumerate(gates):
            kernel, bias = weights["hidden/kernel:0"][:, n], weights["hidden/bias:0"][n]
            hidden = np.maximum(x @ kernel + bias, 0)
            kernel, bias = (weights[f"gate_{n + 1}/{name}:0"] for name in ("kernel", "bias"))
            values.append(GAMMA / (1 + np.exp(-(hidden @ kernel + bias))))
    return [np.array(values) for values in gates]


@pytest.mark.parametrize("xla", [False, True])
def test_equals_the_equation(xla: bool) -> None:
    layer, inputs = _made()
    gates = tf.function(layer, jit_compile=True)(inputs) if xla else layer(inputs)
    assert [gate.shape for gate in gates] == [(B, width) for width in UNITS]
    for gate, expected in zip(gates, _reference(layer, inputs), strict=True):
        np.testing.assert_allclose(gate, expected, atol=1e-5)


def test_lies_between_0_and_gamma_and_starts_around_1() -> None:
    layer = GateNu([1000])
    (gate,) = layer(tf.random.stateless_normal([8, IN], [0, 1]))
    assert abs(np.mean(gate) - 1) < 0.1
    layer.weights[-1].assign(tf.linspace(-50.0, 50.0, 1000))
    (gate,) = layer(tf.random.stateless_normal([8, IN], [0, 1]))
    assert np.min(gate) < 1e-6 and np.min(gate) >= 0
    assert np.max(gate) > 2 - 1e-6 and np.max(gate) <= 2


def test_every_weight_gets_a_gradient() -> None:
    layer, _ = _made()
    # Nothing negative: no hidden unit is dead.
    for weight in layer.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    inputs = tf.random.stateless_uniform([32, IN], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.add_n([tf.reduce_sum(gate**2) for gate in layer(inputs)])
    gradients = tape.gradient(loss, [*layer.trainable_weights, inputs])
    for gradient in gradients:
        assert np.abs(gradient).min() > 0


def test_gates_are_apart() -> None:
    """The gradient of the first gate reaches nothing of the second."""
    layer, inputs = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs)[0])
    weights = {weight.name: weight for weight in layer.trainable_weights}
    gradients = tape.gradient(loss, weights)
    assert gradients["gates/gate_2/kernel:0"] is None
    reached = np.abs(gradients["gates/hidden/kernel:0"]).max(axis=(0, 2)) > 0
    assert reached.tolist() == [True, False]


def test_runs_in_mixed_precision() -> None:
    with precision("mixed_bfloat16"):
        layer = GateNu(UNITS)
    inputs = tf.random.stateless_normal([B, IN], [0, 1])
    with tf.GradientTape() as tape:
        gates = layer(inputs)
        loss = tf.add_n([tf.reduce_sum(gate) for gate in gates])
    assert all(gate.dtype == tf.bfloat16 for gate in gates)
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert gradient.dtype == tf.float32 and np.isfinite(gradient).all()


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one width"):
        GateNu([])
    with pytest.raises(ValueError, match="`gamma` should be above 0. Received: gamma=0"):
        GateNu([3], gamma=0)


def test_config_round_trip() -> None:
    layer = GateNu(UNITS, hidden_units=HIDDEN, gamma=GAMMA)
    assert GateNu.from_config(layer.get_config()).get_config() == layer.get_config()
