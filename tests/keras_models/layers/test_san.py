from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.san import San

M, D = 5, 3
SCENARIO = np.array([4, 0, 2, 2, 1, 3])


def _made(num_scenarios: int = M) -> San:
    layer = San(num_scenarios, D)
    layer(tf.constant([0]))
    rng = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def test_equals_the_equation() -> None:
    layer = _made()
    embedding, kernel = (w.numpy().astype(np.float64) for w in layer.trainable_weights)
    for i, weights in zip(SCENARIO, layer(SCENARIO).numpy(), strict=True):
        logits = embedding[i] @ kernel
        e = np.exp(np.delete(logits, i))
        np.testing.assert_allclose(weights, np.insert(e / e.sum(), i, 0), atol=1e-6)


def test_the_own_scenario_is_masked_before_the_softmax() -> None:
    """Masked after it, the weights of the others would sum to less than 1."""
    layer = _made()
    # Nearly all of the softmax would be the own scenario's.
    layer.embedding.assign(10 * tf.eye(M, D))
    layer.kernel.assign(tf.eye(D, M))
    weights = layer(SCENARIO).numpy()
    assert (weights[np.arange(len(SCENARIO)), SCENARIO] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_an_example_changes_only_its_own_scenarios_embedding() -> None:
    layer = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([2, 2])) ** 2)
    gradient = tape.gradient(loss, layer.embedding).numpy()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=1) > 0).tolist() == [False, False, True, False, False]


def test_of_two_scenarios_each_takes_all_from_the_other() -> None:
    np.testing.assert_array_equal(_made(2)(tf.constant([0, 1])), [[0, 1], [1, 0]])


def test_refuses_a_single_scenario() -> None:
    with pytest.raises(ValueError, match="there would be none. Received: num_scenarios=1"):
        San(1, D)


def test_config_round_trip() -> None:
    layer = San(M, D)
    assert San.from_config(layer.get_config()).get_config() == layer.get_config()
