"""The softmax of gates."""

import numpy as np
import tensorflow as tf

from keras_models.layers.gate_softmax import gate_softmax


def test_values_by_hand() -> None:
    # ln 1, ln 2, ln 5: weights 1/8, 2/8, 5/8; and logits whose powers would overflow.
    logits = np.log([[[1.0, 2.0, 5.0]], [[1.0, 1.0, 2.0]]]) + [[[0.0]], [[1e4]]]
    found = gate_softmax(tf.constant(logits, tf.float32))
    expected = [[[0.125, 0.25, 0.625]], [[0.25, 0.25, 0.5]]]
    np.testing.assert_allclose(found, expected, atol=5e-4)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


def test_a_gate_may_be_shut() -> None:
    found = gate_softmax(tf.constant([[0.0, -np.inf, -1e38]]))
    np.testing.assert_array_equal(found, [[1.0, 0.0, 0.0]])


def test_gradient() -> None:
    logits = tf.constant([[0.3, -1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        first = gate_softmax(logits)[0, 0]
    found = tape.gradient(first, logits)[0]
    g = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    # d g_0 / d z_j = g_0 ([j = 0] - g_j)
    np.testing.assert_allclose(found, g[0] * (np.array([1.0, 0.0, 0.0]) - g), rtol=1e-5)
