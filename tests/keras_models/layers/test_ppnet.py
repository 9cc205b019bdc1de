"""PPNet, with the towers it gates, against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import Tower
from keras_models.layers.ppnet import PpNet
from keras_models.precision import precision

B, K, H, PRIOR, WIDTH, HIDDEN = 7, 3, 5, 4, 6, 8
UNITS = [4, 2]


def _made(
    position: str = "input", units: list[int] = UNITS
) -> tuple[PpNet, Tower, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """A PPNet and towers with all weights random, biases too, and what they read."""
    rng = np.random.default_rng(0)
    ppnet = PpNet(K, units, hidden_units=HIDDEN, position=position, name="ppnet")
    tower = Tower(K, units, name="tower")
    read = tuple(
        tf.constant(rng.normal(size=shape), tf.float32)
        for shape in ([B, K, H], [B, PRIOR], [B, WIDTH])
    )
    tower(read[0], ppnet(*read))
    for weight in [*ppnet.trainable_weights, *tower.trainable_weights]:
        weight.assign(rng.normal(size=weight.shape) * 0.7)
    return ppnet, tower, read


def _reference(
    ppnet: PpNet, tower: Tower, read: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The logits, and the gates by layer, one example and one task at a time."""
    weights = {w.name: w.numpy().astype(np.float64) for w in [*ppnet.weights, *tower.weights]}
    names = [f"layer_{i}" for i in range(1, len(ppnet.tower_units) + 1)] + ["logit"]
    first = 1 if ppnet.position == "output" else 0
    logits: list[list[float]] = []
    gates: list[list] = [[] for _ in names[first:]]
    for h, prior, embedded in zip(*(np.float64(part) for part in read), strict=True):
        x = np.concatenate([prior, embedded])
        deltas = []
        for n in range(len(names) - first):
            hidden = x @ weights["ppnet/gates/hidden/kernel:0"][:, n]
            hidden = np.maximum(hidden + weights["ppnet/gates/hidden/bias:0"][n], 0)
            z = hidden @ weights[f"ppnet/gates/gate_{n + 1}/kernel:0"]
            z = z + weights[f"ppnet/gates/gate_{n + 1}/bias:0"]
            deltas.append(np.split(2 / (1 + np.exp(-z)), K))
            gates[n].append(deltas[-1])
        logits.append([])
        for k in range(K):
            z = h[k]
            for i, name in enumerate(names):
                if ppnet.position == "input":
                    z = deltas[i][k] * z
                z = z @ weights[f"tower/{name}/kernel:0"][:, k] + weights[f"tower/{name}/bias:0"][k]
                if name != "logit":
                    z = np.maximum(z, 0)
                    if ppnet.position == "output":
                        z = deltas[i][k] * z
            logits[-1].append(z[0])
    return np.array(logits), [np.array(values) for values in gates]


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize(
    ("position", "units"), [("input", UNITS), ("output", UNITS), ("input", [])]
)
def test_equals_the_equations(position: str, units: list[int], xla: bool) -> None:
    ppnet, tower, read = _made(position, units)

    def call(*read: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        gates = ppnet(*read)
        return tower(read[0], gates), [gate for gate in gates if gate is not None]

    logits, gates = tf.function(call, jit_compile=True)(*read) if xla else call(*read)
    expected, expected_gates = _reference(ppnet, tower, read)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    widths = ([H] if position == "input" else []) + units
    assert [gate.shape for gate in gates] == [(B, K, width) for width in widths]
    for gate, values in zip(gates, expected_gates, strict=True):
        np.testing.assert_allclose(gate, values, atol=1e-5)


def test_every_layer_has_its_gate_and_the_logit_has_none() -> None:
    """The paper's gates scale all that the towers' layers read; twice the gate is twice the read.

    With gates of 1 the towers are as without gates; a gate of 0 before the map to the logit leaves
    its bias.
    """
    _, tower, (inputs, _, _) = _made()
    ones = [tf.ones([B, K, width]) for width in (H, *UNITS)]
    np.testing.assert_array_equal(tower(inputs, ones), tower(inputs))
    shut = [*ones[:-1], tf.zeros_like(ones[-1])]
    bias = tower.trainable_weights[-1]
    np.testing.assert_array_equal(tower(inputs, shut), np.tile(bias[:, 0], (B, 1)))


def test_gradients_reach_the_prior_and_not_the_embeddings() -> None:
    ppnet, tower, (inputs, prior, embedded) = _made()
    with tf.GradientTape() as tape:
        tape.watch([inputs, prior, embedded])
        gates = ppnet(inputs, prior, embedded)
        loss = tf.reduce_sum(tower(inputs, gates) ** 2)
    to_inputs, to_prior, to_embedded = tape.gradient(loss, [inputs, prior, embedded])
    assert to_embedded is None
    assert np.abs(to_prior).max(axis=1).min() > 0
    # What the towers read learns from the towers alone, not from the gates.
    fixed = [tf.constant(gate.numpy()) for gate in gates]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(tower(inputs, fixed) ** 2)
    np.testing.assert_array_equal(to_inputs, tape.gradient(loss, inputs))


@pytest.mark.parametrize("position", ["input", "output"])
def test_every_weight_gets_a_gradient(position: str) -> None:
    ppnet, tower, _ = _made(position)
    # Nothing negative: no hidden unit is dead, so that a gradient of zero is a mistake.
    weights = [*ppnet.trainable_weights, *tower.trainable_weights]
    for weight in weights:
        weight.assign(0.2 * tf.abs(weight))
    read = [
        tf.random.stateless_uniform(shape, [0, seed])
        for seed, shape in enumerate([[32, K, H], [32, PRIOR], [32, WIDTH]])
    ]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(read[0], ppnet(*read)) ** 2)
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        # Every number of it: the shares of all layers, tasks and units.
        assert np.abs(gradient).min() > 0, weight.name


def test_a_task_s_gates_are_its_own() -> None:
    """The loss of task 0 teaches only its K-th part of each gate's last layer."""
    ppnet, tower, read = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(read[0], ppnet(*read))[:, 0] ** 2)
    weights = {weight.name: weight for weight in ppnet.trainable_weights}
    gradients = tape.gradient(loss, weights)
    for n, width in enumerate([H, *UNITS], start=1):
        bias = np.abs(gradients[f"ppnet/gates/gate_{n}/bias:0"]).reshape(K, width)
        assert (bias.max(axis=1) > 0).tolist() == [True] + [False] * (K - 1)


def test_an_example_does_not_depend_on_the_rest_of_the_batch() -> None:
    ppnet, tower, read = _made()
    together = tower(read[0], ppnet(*read))
    for b in range(B):
        one = [part[b : b + 1] for part in read]
        np.testing.assert_allclose(tower(one[0], ppnet(*one))[0], together[b], atol=1e-5)


def test_runs_in_mixed_precision() -> None:
    with precision("mixed_bfloat16"):
        ppnet, tower = PpNet(K, UNITS), Tower(K, UNITS)
    read = [
        tf.random.stateless_normal(shape, [0, seed])
        for seed, shape in enumerate([[B, K, H], [B, PRIOR], [B, WIDTH]])
    ]
    with tf.GradientTape() as tape:
        logits = tower(read[0], ppnet(*read))
        loss = tf.reduce_sum(logits**2)
    assert logits.dtype == tf.float32
    for gradient in tape.gradient(loss, [*ppnet.trainable_weights, *tower.trainable_weights]):
        assert gradient.dtype == tf.float32 and np.isfinite(gradient).all()


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="input or output. Received: position=middle"):
        PpNet(K, UNITS, position="middle")
    with pytest.raises(ValueError, match=r"needs hidden layers .* Received: tower_units=\[\]"):
        PpNet(K, [], position="output")


@pytest.mark.parametrize("position", ["input", "output"])
def test_config_round_trip(position: str) -> None:
    layer = PpNet(K, UNITS, hidden_units=HIDDEN, gamma=1.5, position=position)
    assert PpNet.from_config(layer.get_config()).get_config() == layer.get_config()
