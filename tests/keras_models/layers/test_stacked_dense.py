from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import StackedDense

B, N, IN, OUT = 5, 3, 4, 2


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_dense_layers_one_by_one(own_inputs: bool, use_bias: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(B, N, IN) if own_inputs else (B, IN)).astype(np.float32)
    layer = StackedDense(N, OUT, "relu", use_bias)
    layer.build(inputs.shape)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    outputs = layer(inputs)
    assert outputs.shape == (B, N, OUT)
    for n in range(N):
        kernel = layer.kernel.numpy()[n] if own_inputs else layer.kernel.numpy()[:, n]
        expected = (inputs[:, n] if own_inputs else inputs).astype(np.float64) @ kernel
        if use_bias:
            expected = expected + layer.bias.numpy()[n]
        np.testing.assert_allclose(outputs[:, n], np.maximum(expected, 0), atol=1e-5)


@pytest.mark.parametrize("own_inputs", [False, True])
def test_each_kernel_is_drawn_on_its_own_with_its_own_fans(own_inputs: bool) -> None:
    layer = StackedDense(4, 50, None)
    layer.build([B, 4, 30] if own_inputs else [B, 30])
    kernels = np.moveaxis(layer.kernel.numpy(), 0 if own_inputs else 1, 0)
    limit = np.sqrt(6 / (30 + 50))
    for n, kernel in enumerate(kernels):
        assert 0.95 * limit < np.abs(kernel).max() <= limit
        for other in kernels[:n]:
            assert np.abs(kernel - other).max() > 0.1 * limit


def test_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[B, I\] or \[B, 3, I\]. Received: shape \(5, 2, 4\)"):
        StackedDense(N, OUT).build([5, 2, 4])
    with pytest.raises(ValueError, match="Received: shape"):
        StackedDense(N, OUT).build([5])


def test_config_round_trip() -> None:
    layer = StackedDense(N, OUT, "relu", use_bias=False, name="gate")
    again = StackedDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(tf.zeros([B, IN])).shape == (B, N, OUT)
