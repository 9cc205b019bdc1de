from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.partitioned_norm import PartitionedNorm

M, IN, MOMENTUM, EPSILON = 5, 3, 0.8, 1e-2
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(2, 3, size=(12, IN)).astype(np.float32)
# Scenario 2 has one example and scenario 4 none.
SCENARIO = np.array([0, 3, 1, 0, 3, 2, 1, 0, 3, 1, 0, 0])


def _made() -> PartitionedNorm:
    layer = PartitionedNorm(M, MOMENTUM, EPSILON)
    layer(INPUTS, SCENARIO)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    layer.moving_mean.assign(rng.normal(size=[M, IN]))
    layer.moving_variance.assign(rng.uniform(0.5, 2, size=[M, IN]))
    layer.batches.assign([0, 1, 2, 30, 4])
    return layer


def _state(layer: PartitionedNorm) -> dict[str, np.ndarray]:
    return {w.name: w.numpy().astype(np.float64) for w in layer.weights}


def _short(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(":0")


def _reference(
    state: dict[str, np.ndarray], training: bool, inputs: np.ndarray = INPUTS
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs and the state after, one scenario and one example at a time."""
    after = {_short(name): weight.copy() for name, weight in state.items()}
    mean, variance = after["moving_mean"].copy(), after["moving_variance"].copy()
    for i in range(M):
        rows = inputs[SCENARIO == i].astype(np.float64)
        if not training or len(rows) < 2:
            continue
        mean[i], variance[i] = rows.mean(axis=0), rows.var(axis=0)
        after["batches"][i] += 1
        share = max(1 - MOMENTUM, 1 / after["batches"][i])
        after["moving_mean"][i] += share * (mean[i] - after["moving_mean"][i])
        after["moving_variance"][i] += share * (variance[i] - after["moving_variance"][i])
    outputs = []
    for x, i in zip(inputs.astype(np.float64), SCENARIO, strict=True):
        z = (x - mean[i]) / np.sqrt(variance[i] + EPSILON)
        scale = after["gamma"] * after["scenario_gammas"][i]
        outputs.append(scale * z + after["beta"] + after["scenario_betas"][i])
    return np.array(outputs), after


def _check_state(layer: PartitionedNorm, expected: dict[str, np.ndarray]) -> None:
    for weight in layer.weights:
        np.testing.assert_allclose(weight, expected[_short(weight.name)], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_equation(training: bool, jit_compile: bool | None) -> None:
    """At once, in a graph and under XLA: outputs, and what the moving averages become."""
    layer = _made()
    expected, after = _reference(_state(layer), training)

    def run(inputs: tf.Tensor, scenario: tf.Tensor) -> tf.Tensor:
        return layer(inputs, scenario, training=training)

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile, autograph=False)
    outputs = run(tf.constant(INPUTS), tf.constant(SCENARIO))
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=1e-5)
    _check_state(layer, after)


def test_moving_averages_are_means_at_first() -> None:
    layer = PartitionedNorm(M, momentum=0.9)
    batches = np.random.default_rng(2).normal(5, 2, size=(8, 20, IN)).astype(np.float32)
    for batch in batches:
        layer(batch, np.zeros(20, int), training=True)
    np.testing.assert_allclose(layer.moving_mean[0], batches.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance[0], batches.var(axis=1).mean(0), rtol=1e-5)
    np.testing.assert_array_equal(layer.batches, [8, 0, 0, 0, 0])
    np.testing.assert_array_equal(layer.moving_mean[1:], np.zeros([M - 1, IN]))
    np.testing.assert_array_equal(layer.moving_variance[1:], np.ones([M - 1, IN]))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_equal_differences(training: bool) -> None:
    """Through the moments as well, in training; finite where a scenario has no example or one."""
    layer, inputs = _made(), tf.constant(INPUTS)
    towards = tf.constant(np.random.default_rng(3).normal(size=INPUTS.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(inputs, SCENARIO, training=training) * towards)
    gradient, *of_weights = tape.gradient(loss, [inputs, *layer.trainable_weights])
    state = _state(_made())
    step = 1e-6
    for b, n in [(0, 0), (5, 1), (8, 2), (2, 0)]:
        values = []
        for sign in (1, -1):
            moved = INPUTS.astype(np.float64)
            moved[b, n] += sign * step
            values.append((_reference(state, training, moved)[0] * towards.numpy()).sum())
        difference = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(gradient[b, n], difference, atol=1e-4, rtol=1e-3)
    for weight, of_weight in zip(layer.trainable_weights, of_weights, strict=True):
        assert np.isfinite(of_weight).all()
        if weight.shape.rank == 2:
            reached = np.abs(of_weight).max(axis=1) > 0
            assert reached.tolist() == [True, True, True, True, False]
        else:
            assert np.abs(of_weight).min() > 0


def test_an_example_changes_no_other_scenario_in_training() -> None:
    layer = _made()
    before = _state(layer)
    layer(INPUTS[:4], np.full(4, 3), training=True)
    for weight in layer.non_trainable_weights:
        changed = weight.numpy() != before[weight.name]
        rows = changed.reshape(M, -1).any(axis=1)
        assert rows.tolist() == [False, False, False, True, False], weight.name


def test_does_not_depend_on_the_rest_of_the_batch_at_inference() -> None:
    layer = _made()
    together = layer(INPUTS, SCENARIO)
    for b in range(len(INPUTS)):
        alone = layer(INPUTS[b : b + 1], SCENARIO[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], atol=1e-6)
    # In training it does: by the scenario's moments.
    trained = layer(INPUTS[:8], SCENARIO[:8], training=True)
    assert np.abs(trained - together[:8]).max() > 0.1


def test_moments_stay_float32_in_bfloat16() -> None:
    layer = PartitionedNorm(M, dtype="mixed_bfloat16")
    outputs = layer(tf.constant(INPUTS, tf.bfloat16), SCENARIO, training=True)
    assert outputs.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {tf.float32}
    expected = tf.cast(tf.constant(INPUTS, tf.bfloat16), tf.float64).numpy()[SCENARIO == 0]
    np.testing.assert_allclose(layer.moving_mean[0], expected.mean(axis=0), rtol=1e-5)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    layer = _made()
    layer(INPUTS, SCENARIO, training=True)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    again = PartitionedNorm(M, MOMENTUM, EPSILON)
    again(INPUTS, SCENARIO)
    tf.train.Checkpoint(layer=again).read(path).assert_consumed()
    for one in (layer, again):
        one(INPUTS[::-1], SCENARIO[::-1], training=True)
    for weight, other in zip(layer.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_its_moving_averages_are_not_trainable() -> None:
    names = [_short(weight.name) for weight in _made().non_trainable_weights]
    assert names == ["moving_mean", "moving_variance", "batches"]


def test_config_round_trip() -> None:
    layer = PartitionedNorm(M, MOMENTUM, EPSILON)
    assert PartitionedNorm.from_config(layer.get_config()).get_config() == layer.get_config()
