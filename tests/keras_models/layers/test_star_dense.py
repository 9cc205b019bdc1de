from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_models.layers.star_dense import StarDense

SIZES, IN, OUT = [2, 0, 3, 1], 5, 4
M = len(SIZES)
RNG = np.random.default_rng(0)
GROUPS = [RNG.normal(size=(size, IN)).astype(np.float32) for size in SIZES]


def _made(policy: str = "float32") -> StarDense:
    layer = StarDense(OUT, "relu", dtype=policy)
    layer(GROUPS)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def test_equals_the_equation() -> None:
    layer = _made()
    names = ("kernel", "scenario_kernels", "bias", "scenario_biases")
    w, w_own, b, b_own = (getattr(layer, name).numpy().astype(np.float64) for name in names)
    for i, (inputs, outputs) in enumerate(zip(GROUPS, layer(GROUPS), strict=True)):
        expected = np.maximum(inputs @ (w * w_own[i]) + b + b_own[i], 0)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_scenarios_start_equal() -> None:
    layer = StarDense(OUT)
    layer(GROUPS)
    np.testing.assert_array_equal(layer.scenario_kernels, np.ones([M, IN, OUT]))
    np.testing.assert_array_equal(layer.scenario_biases, np.zeros([M, OUT]))
    assert np.ptp(layer.kernel.numpy()) > 0.5


def test_an_example_changes_no_other_scenario() -> None:
    layer = _made()
    layer.activation = tf.identity
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.abs(y)) for y in layer(GROUPS)])
    for gradient in tape.gradient(loss, [layer.scenario_kernels, layer.scenario_biases]):
        reached = np.abs(gradient).reshape(M, -1).max(axis=1) > 0
        assert reached.tolist() == [size > 0 for size in SIZES]


def test_weights_are_multiplied_before_they_are_rounded() -> None:
    """In bfloat16 numbers next to 1 are 2^-8 apart and more."""
    layer = _made("mixed_bfloat16")
    layer.kernel.assign(tf.ones([IN, OUT]) * (1 + 2**-9))
    layer.scenario_kernels.assign(tf.ones([M, IN, OUT]) * (1 + 2**-9))
    layer.bias.assign(tf.zeros([OUT]))
    layer.scenario_biases.assign(tf.zeros([M, OUT]))
    outputs = layer([tf.ones([1, IN])] * M)
    assert outputs[0].dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs[0], tf.float32), IN * (1 + 2**-7), rtol=2**-9)


def test_config_round_trip() -> None:
    layer = StarDense(OUT, "relu", name="layer_1")
    assert StarDense.from_config(layer.get_config()).get_config() == layer.get_config()
