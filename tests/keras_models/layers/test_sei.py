from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.sei import Sei

B, N, Q, C, IN = 6, 4, 3, 2, 5
UNITS = [8, 7]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
COEFFICIENTS = RNG.normal(size=(B, C, N)).astype(np.float32)


def _made() -> Sei:
    layer = Sei(N, Q, UNITS, name="sei")
    layer(INPUTS, COEFFICIENTS)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def _extracted(layer: Sei) -> tuple[np.ndarray, np.ndarray]:
    """SEI_n(x) and the gates by the equation, in float64."""
    weights = {w.name: w.numpy().astype(np.float64) for w in layer.weights}
    outputs, gates = np.zeros([B, N, UNITS[-1]]), np.zeros([B, N, Q])
    for b, x in enumerate(INPUTS.astype(np.float64)):
        for n in range(N):
            e = np.exp(x @ weights["sei/gates/kernel:0"][:, n])
            gates[b, n] = e / e.sum()
            for q in range(Q):
                z = x
                for i in range(1, len(UNITS) + 1):
                    kernel = weights[f"sei/sub_experts/layer_{i}/kernel:0"][:, n * Q + q]
                    bias = weights[f"sei/sub_experts/layer_{i}/bias:0"][n * Q + q]
                    z = np.maximum(z @ kernel + bias, 0)
                outputs[b, n] += gates[b, n, q] * z
    return outputs, gates


def test_equals_the_equation() -> None:
    layer = _made()
    expected, expected_gates = _extracted(layer)
    outputs, gates = layer(INPUTS, np.tile(np.eye(N, dtype=np.float32), [B, 1, 1]))
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(gates, expected_gates, atol=1e-5)


def test_sums_the_extractors() -> None:
    layer = _made()
    expected = np.einsum("bcn,bnh->bch", COEFFICIENTS, _extracted(layer)[0])
    outputs, _ = layer(INPUTS, COEFFICIENTS)
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_coefficients() -> None:
    layer, coefficients = _made(), tf.constant(COEFFICIENTS)
    with tf.GradientTape() as tape:
        tape.watch(coefficients)
        outputs, _ = layer(INPUTS, coefficients)
    expected = np.tile(_extracted(layer)[0].sum(axis=-1)[:, None], [1, C, 1])
    np.testing.assert_allclose(tape.gradient(outputs, coefficients), expected, rtol=1e-4, atol=1e-4)


def test_refuses_a_single_sub_expert() -> None:
    with pytest.raises(ValueError, match="always 1. Received: sub_experts=1"):
        Sei(N, 1, UNITS)


def test_config_round_trip() -> None:
    layer = Sei(N, Q, UNITS)
    assert Sei.from_config(layer.get_config()).get_config() == layer.get_config()
