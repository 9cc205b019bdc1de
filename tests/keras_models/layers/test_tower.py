from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import Tower

B, K, H = 6, 3, 4


@pytest.mark.parametrize("units", [[], [5], [5, 2]])
def test_equals_one_mlp_a_task(units: list[int]) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(B, K, H)).astype(np.float32)
    tower = Tower(K, units)
    logits = tower(inputs)
    assert logits.shape == (B, K)
    for weight in tower.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    weights = [weight.numpy().astype(np.float64) for weight in tower.trainable_weights]
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    assert len(layers) == len(units) + 1
    for k in range(K):
        z = inputs[:, k].astype(np.float64)
        for kernel, bias in layers[:-1]:
            z = np.maximum(z @ kernel[:, k] + bias[k], 0)
        kernel, bias = layers[-1]
        np.testing.assert_allclose(
            tower(inputs)[:, k], (z @ kernel[:, k] + bias[k])[:, 0], atol=1e-5
        )


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("without", [None, 0, 2])
def test_gates_scale_what_the_layers_read(without: int | None, xla: bool) -> None:
    rng = np.random.default_rng(0)
    tower, units = Tower(K, [5, 2]), [H, 5, 2]
    inputs, *gates = [rng.normal(size=(B, K, width)).astype(np.float32) for width in [H, *units]]
    gates = [None if n == without else gate for n, gate in enumerate(gates)]
    tower(inputs)
    for weight in tower.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    weights = [weight.numpy().astype(np.float64) for weight in tower.trainable_weights]
    tensors = [None if gate is None else tf.constant(gate) for gate in gates]
    call = tf.function(tower, jit_compile=True) if xla else tower
    logits = call(tf.constant(inputs), tensors)
    for b in range(B):
        for k in range(K):
            z = inputs[b, k].astype(np.float64)
            for n, gate in enumerate(gates):
                z = (z if gate is None else gate[b, k] * z) @ weights[2 * n][:, k]
                z = z + weights[2 * n + 1][k]
                if n < len(gates) - 1:
                    z = np.maximum(z, 0)
            np.testing.assert_allclose(logits[b, k], z[0], atol=1e-5, rtol=1e-5)


def test_refuses_gates_that_do_not_fit() -> None:
    tower, inputs = Tower(K, [5]), tf.zeros([B, K, H])
    with pytest.raises(ValueError, match="each of the 2 layers of .* Received: 1"):
        tower(inputs, [None])
    # Both would broadcast.
    for gate in (tf.ones([B, 1, 5]), tf.ones([B, K, 1])):
        with pytest.raises(ValueError, match=r"`logit` reads, \(6, 3, 5\). Received: shape"):
            tower(inputs, [None, gate])


def test_config_round_trip() -> None:
    tower = Tower(K, [5])
    assert Tower.from_config(tower.get_config()).get_config() == tower.get_config()
