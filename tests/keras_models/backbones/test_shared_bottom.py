"""Shared-Bottom against its equation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.shared_bottom import SharedBottom

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M = 7, 6, 3, 2
UNITS = [8, 5]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = RNG.integers(M, size=B)


def _make() -> SharedBottom:
    return SharedBottom(K, units=UNITS)


def _made() -> SharedBottom:
    backbone = _make()
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def test_equals_the_equation() -> None:
    backbone = _made()
    output = backbone(INPUTS, SCENARIO)
    weights = checks.weights_of(backbone)
    bottoms = [checks.mlp(weights, "bottom/layer_", 0, x) for x in INPUTS.astype(np.float64)]
    assert output.hidden.shape == (B, K, UNITS[-1])
    np.testing.assert_allclose(
        output.hidden, np.repeat(np.array(bottoms)[:, None], K, axis=1), atol=1e-5, rtol=1e-5
    )
    assert output.logits is None
    assert output.intermediates == {}


def test_the_bottom_is_there_once() -> None:
    assert _made().count_params() == IN * 8 + 8 + 8 * 5 + 5


def test_every_task_teaches_the_bottom() -> None:
    """The gradient of a weighting of the tasks is that weighting of their gradients."""
    backbone, weighting = _made(), [0.5, -2.0, 3.0]
    with tf.GradientTape(persistent=True) as tape:
        hidden = backbone(INPUTS, SCENARIO).hidden
        by_task = [tf.reduce_sum(hidden[:, k] ** 2) for k in range(K)]
        loss = tf.add_n([w * task for w, task in zip(weighting, by_task, strict=True)])
    for weight in backbone.trainable_weights:
        expected = sum(weighting) * tape.gradient(by_task[1], weight)
        np.testing.assert_allclose(tape.gradient(loss, weight), expected, rtol=1e-4, atol=1e-4)


def test_refuses_no_layers() -> None:
    with pytest.raises(ValueError, match="`units` should name at least one width"):
        SharedBottom(K, units=[])
