"""EPNet against its equation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.epnet import EpNet
from keras_models.precision import precision

B, DOMAIN, HIDDEN = 7, 3, 6
FIELDS = [4, 2, 4, 5]
WIDTH = sum(FIELDS)


def _made(per_field: bool) -> tuple[EpNet, tf.Tensor, tf.Tensor]:
    """An EPNet with all weights random, biases too, embeddings and domain features."""
    rng = np.random.default_rng(0)
    layer = EpNet(hidden_units=HIDDEN, per_field=per_field, field_dims=FIELDS, name="epnet")
    embedded = tf.constant(rng.normal(size=(B, WIDTH)), tf.float32)
    domain = tf.constant(rng.normal(size=(B, DOMAIN)), tf.float32)
    layer(embedded, domain)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer, embedded, domain


def _reference(
    layer: EpNet, embedded: tf.Tensor, domain: tf.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    weights = {w.name.removeprefix("epnet/gate/"): w.numpy() for w in layer.weights}
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    outputs, deltas = [], []
    for e, f in zip(np.float64(embedded), np.float64(domain), strict=True):
        hidden = np.concatenate([f, e]) @ weights["hidden/kernel:0"][:, 0]
        hidden = np.maximum(hidden + weights["hidden/bias:0"][0], 0)
        z = hidden @ weights["gate_1/kernel:0"] + weights["gate_1/bias:0"]
        delta = 2 / (1 + np.exp(-z))
        deltas.append(delta)
        outputs.append(e * (np.repeat(delta, FIELDS) if layer.per_field else delta))
    return np.array(outputs), np.array(deltas)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("per_field", [False, True])
def test_equals_the_equation(per_field: bool, xla: bool) -> None:
    layer, embedded, domain = _made(per_field)
    call = tf.function(layer, jit_compile=True) if xla else layer
    outputs, delta = call(embedded, domain)
    expected, expected_delta = _reference(layer, embedded, domain)
    assert outputs.shape == (B, WIDTH)
    assert delta.shape == (B, len(FIELDS) if per_field else WIDTH)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(delta, expected_delta, atol=1e-5)


@pytest.mark.parametrize("per_field", [False, True])
def test_the_gate_teaches_the_domain_and_not_the_embeddings(per_field: bool) -> None:
    layer, embedded, domain = _made(per_field)
    upstream = tf.random.stateless_normal([B, WIDTH], [0, 1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([embedded, domain])
        outputs, delta = layer(embedded, domain)
        loss = tf.reduce_sum(upstream * outputs)
    # d O_ep / d E is delta and nothing more: what the gate would add is exactly nothing.
    each = np.repeat(delta, FIELDS, axis=1) if per_field else delta
    np.testing.assert_array_equal(tape.gradient(loss, embedded), upstream * each)
    assert tape.gradient(delta, embedded) is None
    assert np.abs(tape.gradient(loss, domain)).min() > 0
    assert np.abs(tape.gradient(delta, domain)).min() > 0


@pytest.mark.parametrize("per_field", [False, True])
def test_every_weight_gets_a_gradient(per_field: bool) -> None:
    layer, _, _ = _made(per_field)
    # Nothing negative: no hidden unit is dead.
    for weight in layer.trainable_weights:
        weight.assign(0.2 * tf.abs(weight))
    with tf.GradientTape() as tape:
        outputs, _ = layer(
            tf.random.stateless_uniform([32, WIDTH], [0, 1]),
            tf.random.stateless_uniform([32, DOMAIN], [0, 2]),
        )
        loss = tf.reduce_sum(outputs**2)
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert np.abs(gradient).min() > 0


def test_the_scenario_changes_the_embeddings() -> None:
    layer, embedded, _ = _made(False)
    scenarios = np.eye(DOMAIN, dtype=np.float32)
    outputs = [layer(embedded, np.tile(one, (B, 1)))[0] for one in scenarios]
    for n in range(DOMAIN):
        for other in range(n):
            assert np.abs(outputs[n] - outputs[other]).max() > 0.1


def test_an_example_does_not_depend_on_the_rest_of_the_batch() -> None:
    layer, embedded, domain = _made(True)
    together, _ = layer(embedded, domain)
    for b in range(B):
        alone, _ = layer(embedded[b : b + 1], domain[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], atol=1e-6)


@pytest.mark.parametrize("per_field", [False, True])
def test_runs_in_mixed_precision(per_field: bool) -> None:
    with precision("mixed_bfloat16"):
        layer = EpNet(per_field=per_field, field_dims=FIELDS)
    embedded = tf.random.stateless_normal([B, WIDTH], [0, 1])
    domain = tf.random.stateless_normal([B, DOMAIN], [0, 2])
    with tf.GradientTape() as tape:
        outputs, _ = layer(embedded, domain)
        loss = tf.reduce_sum(outputs)
    assert outputs.dtype == tf.bfloat16
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert gradient.dtype == tf.float32 and np.isfinite(gradient).all()


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="needs the widths of the fields. Received: field_dims=No"):
        EpNet(per_field=True)
    with pytest.raises(ValueError, match=r"add up to the 5 numbers .* Received: \[2, 2\]"):
        EpNet(per_field=True, field_dims=[2, 2])(tf.zeros([1, 5]), tf.zeros([1, 2]))


def test_config_round_trip() -> None:
    layer = EpNet(hidden_units=HIDDEN, gamma=1.5, per_field=True, field_dims=FIELDS)
    assert EpNet.from_config(layer.get_config()).get_config() == layer.get_config()
