"""Sharing pays less as tasks differ: the synthetic data of the MMoE paper, section 3.2.

Two regressions of one input, with correlated weights w_1 and w_2 (p = 0: orthogonal):

    y_k = w_k x + sum_j sin(a_j w_k x + b_j) + noise

Every model has about as many weights, and sees fresh examples all the time, so what is compared is
how well it can tell the tasks apart, not how it overfits.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones import Backbone, Mmoe, Ple, SharedBottom
from keras_models.layers import Tower

WIDTH, BATCH, STEPS, TEST_ROWS, SEEDS = 100, 256, 8_000, 20_000, 5
CORRELATION = 0.0
WAVES = 4


def _backbone(name: str) -> Backbone:
    if name == "shared_bottom":
        return SharedBottom(2, units=[125])
    if name == "mmoe":
        return Mmoe(2, num_experts=8, expert_units=[16])
    return Ple(2, levels=1, experts_per_task=3, shared_experts=2, expert_units=[16])


def _error(name: str, seed: int) -> float:
    """Mean squared error on fresh examples, as a share of the variance."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.normal(size=(WIDTH, 2)))[0].T
    second = CORRELATION * u[0] + np.sqrt(1 - CORRELATION**2) * u[1]
    weights = tf.constant(np.stack([u[0], second], axis=1), tf.float32)
    speed = tf.range(1.0, WAVES + 1) / 2
    phase = tf.constant(rng.uniform(0, 2 * np.pi, WAVES), tf.float32)

    def draw(key: tf.Tensor, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.random.stateless_normal([rows, WIDTH], key)
        z = tf.matmul(x, weights)
        waves = tf.reduce_sum(tf.sin(speed * z[:, :, tf.newaxis] + phase), axis=2)
        return x, z + waves + 0.1 * tf.random.stateless_normal([rows, 2], key + 7)

    test, labels = draw(tf.constant([seed, -1]), TEST_ROWS)
    mean, deviation = tf.reduce_mean(labels, 0), tf.math.reduce_std(labels, 0)
    keras.utils.set_random_seed(seed)
    backbone, towers = _backbone(name), Tower(2, [8])
    optimizer = keras.optimizers.Adam(0.003)

    def loss(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        hidden = backbone(x, tf.zeros(tf.shape(x)[:1], tf.int64)).hidden
        return tf.reduce_mean(tf.square(towers(hidden) - (y - mean) / deviation))

    loss(test[:2], labels[:2])
    trained = [*backbone.trainable_weights, *towers.trainable_weights]
    assert 13_500 < sum(np.prod(w.shape) for w in trained) < 15_500
    optimizer.build(trained)

    @tf.function
    def train(steps: tf.Tensor) -> None:
        for step in tf.range(steps):
            x, y = draw(tf.stack([seed, step]), BATCH)
            with tf.GradientTape() as tape:
                value = loss(x, y)
            optimizer.apply_gradients(zip(tape.gradient(value, trained), trained, strict=True))

    train(tf.constant(STEPS))
    return float(loss(test, labels))


@pytest.mark.slow
def test_the_more_a_model_can_separate_the_better_it_is_at_unlike_tasks() -> None:
    errors = {
        name: [_error(name, seed) for seed in range(SEEDS)]
        for name in ("shared_bottom", "mmoe", "ple")
    }
    print({name: [round(e, 4) for e in found] for name, found in errors.items()})
    means = {name: np.mean(found) for name, found in errors.items()}
    assert means["ple"] <= means["mmoe"] <= means["shared_bottom"], errors
