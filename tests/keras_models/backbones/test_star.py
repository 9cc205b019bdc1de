"""STAR against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.star import Star

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M, D = 13, 6, 3, 5, 2
UNITS, AUXILIARY, MOMENTUM = [9, 4], [7, 8], 0.7
EPSILON = 1e-3
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(1, 2, size=(B, IN)).astype(np.float32)
# Scenario 3 has one example and scenario 4 none.
SCENARIO = np.concatenate([[3], np.arange(3).repeat(2), RNG.integers(3, size=B - 7)])


def _make(auxiliary_units: list[int] = AUXILIARY) -> Star:
    return Star(
        K,
        num_scenarios=M,
        units=UNITS,
        momentum=MOMENTUM,
        scenario_dim=D,
        auxiliary_units=auxiliary_units,
        name="star",
    )


def _made(auxiliary_units: list[int] = AUXILIARY) -> Star:
    backbone = _make(auxiliary_units)
    checks.randomize(backbone, INPUTS, SCENARIO)
    rng = np.random.default_rng(2)
    backbone._norm.moving_mean.assign(rng.normal(size=[M, IN]))
    backbone._norm.moving_variance.assign(rng.uniform(0.5, 2, size=[M, IN]))
    return backbone


def _reference(
    weights: dict[str, np.ndarray], training: bool, auxiliary_units: list[int] = AUXILIARY
) -> dict[str, np.ndarray]:
    """The equations one scenario, example and task at a time."""
    mean, variance = weights["norm/moving_mean"].copy(), weights["norm/moving_variance"].copy()
    for i in range(M):
        rows = INPUTS[SCENARIO == i].astype(np.float64)
        if training and len(rows) >= 2:
            mean[i], variance[i] = rows.mean(axis=0), rows.var(axis=0)
    hidden, logits = [], []
    for x, i in zip(INPUTS.astype(np.float64), SCENARIO, strict=True):
        h = (x - mean[i]) / np.sqrt(variance[i] + EPSILON)
        h = h * weights["norm/gamma"] * weights["norm/scenario_gammas"][i]
        h = h + weights["norm/beta"] + weights["norm/scenario_betas"][i]
        for layer in range(1, len(UNITS) + 1):
            of_layer = {
                name.removeprefix(f"layer_{layer}/"): weight for name, weight in weights.items()
            }
            kernel = of_layer["kernel"] * of_layer["scenario_kernels"][i]
            h = np.maximum(h @ kernel + of_layer["bias"] + of_layer["scenario_biases"][i], 0)
        hidden.append([h] * K)
        read = np.concatenate([weights["scenario_embedding"][i], x])
        logits.append([])
        for k in range(K):
            z = checks.mlp(weights, "auxiliary/layer_", k, read) if auxiliary_units else read
            kernel, bias = weights["auxiliary/logit/kernel"], weights["auxiliary/logit/bias"]
            logits[-1].append((z @ kernel[:, k] + bias[k]).item())
    return {"hidden": np.array(hidden), "logits": np.array(logits)}


@pytest.mark.parametrize("auxiliary_units", [[], AUXILIARY])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_equations(training: bool, auxiliary_units: list[int]) -> None:
    backbone = _made(auxiliary_units)
    expected = _reference(checks.weights_of(backbone), training, auxiliary_units)
    made = checks.tensors_of(backbone(INPUTS, SCENARIO, training=training))
    assert made["hidden"].shape == (B, K, UNITS[-1])
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(made[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_training_and_inference_agree_once_the_averages_are_the_batchs() -> None:
    backbone = _made()
    trained = backbone(INPUTS, SCENARIO, training=True)
    # The first batch of a scenario: its averages are that batch's.
    asked = backbone(INPUTS, SCENARIO, training=False)
    np.testing.assert_allclose(trained.hidden, asked.hidden, atol=1e-4)
    np.testing.assert_array_equal(backbone._norm.batches, [1, 1, 1, 0, 0])


def _gradients(backbone: Star, scenario: np.ndarray, training: bool) -> dict[str, np.ndarray]:
    # Nothing negative and nothing large: no unit is dead, so that a gradient of zero is a mistake.
    for weight in backbone.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    inputs = np.random.default_rng(3).uniform(size=[len(scenario), IN]).astype(np.float32)
    with tf.GradientTape() as tape:
        output = backbone(inputs, scenario, training=training)
        loss = tf.reduce_sum(output.hidden**2) + tf.reduce_sum(output.logits**2)
    gradients = tape.gradient(loss, backbone.trainable_weights)
    for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True):
        assert isinstance(gradient, tf.Tensor), weight.name
    return {
        weight.name.removeprefix("star/").removesuffix(":0"): gradient.numpy()
        for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True)
    }


OF_A_SCENARIO = ("scenario_kernels", "scenario_biases", "scenario_gammas", "scenario_betas")


def _is_private(name: str) -> bool:
    return name.endswith((*OF_A_SCENARIO, "scenario_embedding"))


@pytest.mark.parametrize("training", [False, True])
def test_every_weight_gets_a_gradient(training: bool) -> None:
    """Each scenario's share and each output's: a wrong index would leave one out."""
    gradients = _gradients(_made(), np.arange(80) % M, training)
    assert sum(_is_private(name) for name in gradients) == 2 * len(UNITS) + 3
    for name, gradient in gradients.items():
        by_output = gradient.reshape(M if _is_private(name) else 1, -1, gradient.shape[-1])
        assert np.abs(by_output).max(axis=1).min() > 0, name


@pytest.mark.parametrize("training", [False, True])
def test_an_example_changes_no_other_scenarios_private_weights(training: bool) -> None:
    i = 2
    for name, gradient in _gradients(_made(), np.full(20, i), training).items():
        if _is_private(name):
            reached = np.abs(gradient).reshape(M, -1).max(axis=1) > 0
            assert np.flatnonzero(reached).tolist() == [i], name


def test_matrices_start_different_and_scenarios_equal() -> None:
    backbone = _make()
    checks.matrices_start_different(backbone, IN)
    for name, weight in checks.weights_of(backbone).items():
        if name.endswith(OF_A_SCENARIO):
            assert np.ptp(weight) == 0, name


@pytest.mark.parametrize("training", [False, True])
def test_traces_with_an_unknown_batch_size(training: bool) -> None:
    specs = [tf.TensorSpec([None, IN]), tf.TensorSpec([None], tf.int64)]
    for size in (B, 3):
        backbone, same = _made(), _made()

        @tf.function(input_signature=specs, autograph=False)
        def traced(inputs: tf.Tensor, scenario: tf.Tensor, backbone: Star = backbone) -> dict:
            return checks.tensors_of(backbone(inputs, scenario, training=training))

        made = traced(INPUTS[:size], SCENARIO[:size])
        expected = checks.tensors_of(same(INPUTS[:size], SCENARIO[:size], training=training))
        for name, value in expected.items():
            np.testing.assert_allclose(made[name], value, atol=1e-5)
            assert made[name].shape[1:].is_fully_defined()
        for weight, other in zip(backbone.weights, same.weights, strict=True):
            np.testing.assert_allclose(weight, other, atol=1e-6)


def test_refuses_no_layers() -> None:
    with pytest.raises(ValueError, match=r"`units` should name at least one width. Received: "):
        Star(K, num_scenarios=M, units=[])
