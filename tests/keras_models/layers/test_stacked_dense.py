from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import StackedDense

B, N, IN, OUT = 5, 3, 4, 2


@pytest.mark.parametrize("readers", [None, [1, 1, 1], [2, 1], [3]])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_dense_layers_one_by_one(readers: list[int] | None, use_bias: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (B, IN) if readers is None else (B, len(readers), IN)
    inputs = rng.normal(size=shape).astype(np.float32)
    layer = StackedDense(N, OUT, "relu", use_bias, readers)
    layer.build(inputs.shape)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    outputs = layer(inputs)
    assert outputs.shape == (B, N, OUT)
    read = inputs[:, None].repeat(N, 1) if readers is None else inputs.repeat(readers, axis=1)
    for n in range(N):
        expected = read[:, n].astype(np.float64) @ layer.kernel.numpy()[:, n]
        if use_bias:
            expected = expected + layer.bias.numpy()[n]
        np.testing.assert_allclose(outputs[:, n], np.maximum(expected, 0), atol=1e-5)


def test_each_kernel_is_drawn_on_its_own_with_its_own_fans() -> None:
    layer = StackedDense(4, 50)
    layer.build([B, 30])
    kernels = np.moveaxis(layer.kernel.numpy(), 1, 0)
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
    with pytest.raises(ValueError, match=r"`num_layers`=3. Received: \[2, 2\]"):
        StackedDense(N, OUT, readers=[2, 2])


def test_config_round_trip() -> None:
    layer = StackedDense(N, OUT, "relu", use_bias=False, readers=[2, 1], name="gate")
    again = StackedDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(tf.zeros([B, IN])).shape == (B, N, OUT)
