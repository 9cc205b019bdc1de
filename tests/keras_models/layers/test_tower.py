from __future__ import annotations

import numpy as np
import pytest

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


def test_config_round_trip() -> None:
    tower = Tower(K, [5])
    assert Tower.from_config(tower.get_config()).get_config() == tower.get_config()
