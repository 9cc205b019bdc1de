"""DeepFM against its equation in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.deepfm import DeepFm

from . import checks

# Sizes that differ, so that no axis is taken for another; 5 components follow the fields.
B, K, M, F, D = 7, 3, 2, 4, 2
IN = F * D + 5
UNITS = [8, 6]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = RNG.integers(M, size=B)


def _make(units: list[int] = UNITS) -> DeepFm:
    return DeepFm(K, field_dims=[D] * F, units=units)


def _made(units: list[int] = UNITS) -> DeepFm:
    backbone = _make(units)
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def _pairs(x: np.ndarray) -> np.ndarray:
    """The sum over pairs of fields of their products, component by component."""
    fields = x[: F * D].reshape(F, D)
    return sum(fields[f] * fields[g] for f, g in itertools.combinations(range(F), 2))


def _deep(weights: dict[str, np.ndarray], k: int, z: np.ndarray, layers: int) -> float:
    for i in range(1, layers + 1):
        z = z @ weights[f"deep_{i}/kernel"][:, k] + weights[f"deep_{i}/bias"][k]
        if i < layers:
            z = np.maximum(z, 0)
    return z.item()


@pytest.mark.parametrize("units", [[], [8], UNITS])
def test_equals_the_equation(units: list[int]) -> None:
    backbone = _made(units)
    output = backbone(INPUTS, SCENARIO)
    weights = checks.weights_of(backbone)
    expected: dict[str, list] = {"first_order": [], "pairs": [], "deep": []}
    for x in INPUTS.astype(np.float64):
        expected["first_order"].append(
            [(x @ weights["first_order/kernel"][:, k]).item() for k in range(K)]
        )
        expected["pairs"].append([_pairs(x) @ weights["pair_weights"][:, k] for k in range(K)])
        expected["deep"].append([_deep(weights, k, x, len(units) + 1) for k in range(K)])
    assert output.hidden is None
    assert output.logits.shape == (B, K)
    assert output.intermediates.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(output.intermediates[name], values, atol=1e-5, rtol=1e-5)
    total = sum(np.array(values) for values in expected.values())
    np.testing.assert_allclose(output.logits, total, atol=1e-5, rtol=1e-5)


def test_starts_as_deepfm() -> None:
    """The pairs count as the dot products of the fields' embeddings, for every task."""
    output = _make()(INPUTS, SCENARIO)
    for x, pairs in zip(INPUTS.astype(np.float64), output.intermediates["pairs"], strict=True):
        fields = x[: F * D].reshape(F, D)
        dots = sum(fields[f] @ fields[g] for f, g in itertools.combinations(range(F), 2))
        np.testing.assert_allclose(pairs, [dots] * K, atol=1e-5)


def test_pairs_are_of_the_fields_alone() -> None:
    """What follows the fields changes the first order and the MLP only."""
    backbone, other = _made(), INPUTS.copy()
    other[:, F * D :] += 1
    before = backbone(INPUTS, SCENARIO).intermediates
    after = backbone(other, SCENARIO).intermediates
    np.testing.assert_array_equal(before["pairs"], after["pairs"])
    for name in ("first_order", "deep"):
        assert np.abs(before[name] - after[name]).max() > 0.1


def test_tasks_have_weights_of_their_own() -> None:
    backbone = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(INPUTS, SCENARIO).logits[:, 1])
    for weight, gradient in zip(
        backbone.trainable_weights,
        tape.gradient(loss, backbone.trainable_weights),
        strict=True,
    ):
        # [I, K, O] of layers, [K, O] of biases, [D, K] of the pairs.
        task_axis = 0 if "bias" in weight.name else 1
        by_task = np.moveaxis(gradient, task_axis, 0).reshape(K, -1)
        assert (np.abs(by_task).max(axis=1) > 0).tolist() == [False, True, False], weight.name


def test_refuses_fields_that_cannot_be_multiplied() -> None:
    with pytest.raises(ValueError, match=r"same width for all .* field_dims=\[8, 8, 16\]"):
        DeepFm(K, field_dims=[8, 8, 16])
    with pytest.raises(ValueError, match=r"at least 2 fields.* field_dims=\[8\]"):
        DeepFm(K, field_dims=[8])
    with pytest.raises(ValueError, match=r"input's width 15. Received: field_dims=\[8, 8\]"):
        DeepFm(K, field_dims=[8, 8])(tf.zeros([B, 15]), tf.zeros([B], tf.int64))
