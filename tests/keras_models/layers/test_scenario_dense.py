from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.scenario_dense import ScenarioDense

SIZES, N, IN, OUT = [2, 0, 3, 1], 3, 5, 4
M = len(SIZES)


def _groups(shape: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(size, *shape)).astype(np.float32) for size in SIZES]


@pytest.mark.parametrize("shape", [(IN,), (N, IN)])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_dense_layers_one_by_one(shape: tuple[int, ...], use_bias: bool) -> None:
    rng = np.random.default_rng(1)
    layer = ScenarioDense(N, OUT, "relu", use_bias)
    groups = _groups(shape)
    layer(groups)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    kernel = layer.kernel.numpy().astype(np.float64)
    for i, (inputs, outputs) in enumerate(zip(groups, layer(groups), strict=True)):
        assert outputs.shape == (SIZES[i], N, OUT)
        for n in range(N):
            read = inputs if inputs.ndim == 2 else inputs[:, n]
            expected = read @ kernel[i, :, n]
            if use_bias:
                expected = expected + layer.bias.numpy()[i, n]
            np.testing.assert_allclose(outputs[:, n], np.maximum(expected, 0), atol=1e-5)


def test_each_kernel_is_drawn_on_its_own_with_its_own_fans() -> None:
    layer = ScenarioDense(3, 50)
    layer([tf.zeros([1, 30])] * 2)
    limit = np.sqrt(6 / (30 + 50))
    kernels = [layer.kernel.numpy()[i, :, n] for i in range(2) for n in range(3)]
    for n, kernel in enumerate(kernels):
        assert 0.95 * limit < np.abs(kernel).max() <= limit
        assert abs(kernel.mean()) < 0.1 * limit
        for other in kernels[:n]:
            assert np.abs(kernel - other).max() > 0.1 * limit


@pytest.mark.parametrize("shape", [(IN,), (N, IN)])
def test_an_example_changes_no_other_scenario(shape: tuple[int, ...]) -> None:
    groups = _groups(shape)
    layer = ScenarioDense(N, OUT)
    layer(groups)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.abs(y)) for y in layer(groups)])
    for gradient in tape.gradient(loss, layer.trainable_weights):
        reached = np.abs(gradient).reshape(M, -1).max(axis=1) > 0
        assert reached.tolist() == [size > 0 for size in SIZES]


def test_config_round_trip() -> None:
    layer = ScenarioDense(N, OUT, "relu", use_bias=False, name="gates")
    again = ScenarioDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert [y.shape for y in again(_groups((IN,)))] == [(size, N, OUT) for size in SIZES]
