"""LHUC, with the towers it gates, against its equation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import Tower
from keras_models.layers.lhuc import Lhuc
from keras_models.precision import precision

B, K, H, USER = 7, 3, 5, 4
UNITS = [4, 2]


def _made() -> tuple[Lhuc, Tower, tf.Tensor, tf.Tensor]:
    """LHUC and towers with all weights random, biases too, and what they read."""
    rng = np.random.default_rng(0)
    lhuc, tower = Lhuc(K, UNITS, name="lhuc"), Tower(K, UNITS, name="tower")
    inputs = tf.constant(rng.normal(size=(B, K, H)), tf.float32)
    user = tf.constant(rng.normal(size=(B, USER)), tf.float32)
    tower(inputs, lhuc(user))
    for weight in [*lhuc.trainable_weights, *tower.trainable_weights]:
        weight.assign(rng.normal(size=weight.shape))
    return lhuc, tower, inputs, user


@pytest.mark.parametrize("xla", [False, True])
def test_equals_the_equation(xla: bool) -> None:
    lhuc, tower, inputs, user = _made()

    def call(inputs: tf.Tensor, user: tf.Tensor) -> tf.Tensor:
        return tower(inputs, lhuc(user))

    logits = tf.function(call, jit_compile=xla)(inputs, user)
    weights = {w.name: w.numpy().astype(np.float64) for w in [*lhuc.weights, *tower.weights]}
    for b in range(B):
        r = np.float64(user[b]) @ weights["lhuc/contributions/kernel:0"]
        r = (r + weights["lhuc/contributions/bias:0"]).reshape(K, sum(UNITS))
        for k in range(K):
            z = np.float64(inputs[b, k])
            scales = np.split(2 / (1 + np.exp(-r[k])), np.cumsum(UNITS)[:-1])
            for i, scale in enumerate(scales, start=1):
                z = z @ weights[f"tower/layer_{i}/kernel:0"][:, k]
                z = scale * np.maximum(z + weights[f"tower/layer_{i}/bias:0"][k], 0)
            z = z @ weights["tower/logit/kernel:0"][:, k] + weights["tower/logit/bias:0"][k]
            np.testing.assert_allclose(logits[b, k], z[0], atol=1e-5, rtol=1e-5)


def test_starts_as_towers_without_gates() -> None:
    tower, inputs = Tower(K, UNITS), tf.random.stateless_normal([B, K, H], [0, 1])
    gates = Lhuc(K, UNITS)(tf.random.stateless_normal([B, USER], [0, 2]))
    assert gates[0] is None
    assert [gate.shape for gate in gates[1:]] == [(B, K, width) for width in UNITS]
    np.testing.assert_array_equal(tower(inputs, gates), tower(inputs))


def test_every_weight_gets_a_gradient_and_so_does_the_user() -> None:
    lhuc, tower, _, _ = _made()
    # Nothing negative: no unit of the towers is dead.
    for weight in [*lhuc.trainable_weights, *tower.trainable_weights]:
        weight.assign(0.3 * tf.abs(weight))
    inputs = tf.random.stateless_uniform([B, K, H], [0, 1])
    user = tf.random.stateless_uniform([B, USER], [0, 2])
    with tf.GradientTape() as tape:
        tape.watch(user)
        loss = tf.reduce_sum(tower(inputs, lhuc(user)) ** 2)
    for gradient in tape.gradient(loss, [*lhuc.trainable_weights, user]):
        assert np.abs(gradient).min() > 0


def test_moves_from_its_start() -> None:
    """Zeros at the start are no trap: the first step already moves the map."""
    lhuc, tower = Lhuc(K, UNITS), Tower(K, UNITS)
    inputs = tf.random.stateless_normal([B, K, H], [0, 1])
    user = tf.random.stateless_normal([B, USER], [0, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(inputs, lhuc(user)) ** 2)
    for gradient in tape.gradient(loss, lhuc.trainable_weights):
        assert np.abs(gradient).max() > 0


def test_users_have_gates_of_their_own() -> None:
    lhuc, _, _, user = _made()
    gates = lhuc(user)[1].numpy().reshape(B, -1)
    for b in range(B):
        np.testing.assert_allclose(lhuc(user[b : b + 1])[1].numpy().ravel(), gates[b], atol=1e-6)
        for other in range(b):
            assert np.abs(gates[b] - gates[other]).max() > 0.1


def test_runs_in_mixed_precision() -> None:
    with precision("mixed_bfloat16"):
        lhuc, tower = Lhuc(K, UNITS), Tower(K, UNITS)
    inputs = tf.random.stateless_normal([B, K, H], [0, 1])
    user = tf.random.stateless_normal([B, USER], [0, 2])
    with tf.GradientTape() as tape:
        logits = tower(inputs, lhuc(user))
        loss = tf.reduce_sum(logits**2)
    assert logits.dtype == tf.float32
    for gradient in tape.gradient(loss, lhuc.trainable_weights):
        assert gradient.dtype == tf.float32 and np.isfinite(gradient).all()


def test_refuses_towers_without_hidden_layers() -> None:
    with pytest.raises(ValueError, match=r"needs hidden layers .* Received: tower_units=\[\]"):
        Lhuc(K, [])


def test_config_round_trip() -> None:
    layer = Lhuc(K, UNITS)
    assert Lhuc.from_config(layer.get_config()).get_config() == layer.get_config()
