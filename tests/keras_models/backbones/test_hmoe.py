"""HMoE against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.hmoe import Hmoe

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M, E = 11, 6, 3, 4, 5
UNITS, TOWER = [8, 7], [9, 2]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = np.concatenate([np.arange(M), RNG.integers(M, size=B - M)])


def _make(tower_units: list[int] = TOWER) -> Hmoe:
    return Hmoe(
        K,
        num_scenarios=M,
        num_experts=E,
        expert_units=UNITS,
        tower_units=tower_units,
        name="hmoe",
    )


def _made(tower_units: list[int] = TOWER) -> Hmoe:
    backbone = _make(tower_units)
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def _tower(weights: dict[str, np.ndarray], n: int, z: np.ndarray, layers: int) -> float:
    for i in range(1, layers + 1):
        z = z @ weights[f"towers_{i}/kernel"][:, n] + weights[f"towers_{i}/bias"][n]
        if i < layers:
            z = np.maximum(z, 0)
    return z.item()


def _reference(
    weights: dict[str, np.ndarray],
    layers: int = len(TOWER) + 1,
    held_scores: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The equations one example, scenario, task and expert at a time.

    `held_scores` [B, M, K] take the place of the scores of other scenarios than the example's own,
    which makes these constants.
    """
    made: dict[str, list] = {}
    for b, (x, i) in enumerate(zip(INPUTS.astype(np.float64), SCENARIO, strict=True)):
        experts = [checks.mlp(weights, "experts/layer_", e, x) for e in range(E)]
        implicit = [checks.softmax(x @ weights["expert_gates/kernel"][:, m]) for m in range(M)]
        mixes = [sum(g * f for g, f in zip(gate, experts, strict=True)) for gate in implicit]
        scores = np.array(
            [[_tower(weights, m * K + k, mixes[m], layers) for k in range(K)] for m in range(M)]
        )
        used = scores
        if held_scores is not None:
            used = held_scores[b].copy()
            used[i] = scores[i]
        gate = checks.softmax(x @ weights["scenario_gates/kernel"][:, i])
        p = sum(gate[m] / (1 + np.exp(-used[m])) for m in range(M))
        not_p = sum(gate[m] / (1 + np.exp(used[m])) for m in range(M))
        values = {
            "logits": np.log(p / not_p),
            "expert_gates": implicit,
            "scenario_gate": gate,
            "scenario_scores": scores,
        }
        for name, value in values.items():
            made.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in made.items()}


@pytest.mark.parametrize("tower_units", [[], [9], TOWER])
def test_equals_the_equations(tower_units: list[int]) -> None:
    backbone = _made(tower_units)
    output = backbone(INPUTS, SCENARIO)
    expected = _reference(checks.weights_of(backbone), len(tower_units) + 1)
    assert output.hidden is None
    assert output.logits.shape == (B, K)
    made = checks.tensors_of(output)
    assert made.keys() == expected.keys()
    for name, tensor in made.items():
        np.testing.assert_allclose(tensor, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_mixes_probabilities() -> None:
    output = _made()(INPUTS, SCENARIO)
    inside = output.intermediates
    mixed = tf.einsum("bm,bmk->bk", inside["scenario_gate"], tf.sigmoid(inside["scenario_scores"]))
    np.testing.assert_allclose(tf.sigmoid(output.logits), mixed, atol=1e-6)


def test_large_scores_neither_overflow_nor_saturate() -> None:
    """All scores of an example at s give s, also where float32 rounds sigmoid(s) to 0 or 1."""
    backbone = _made([])
    weights = {weight.name: weight for weight in backbone.weights}
    kernel, bias = weights["hmoe/towers_1/kernel:0"], weights["hmoe/towers_1/bias:0"]
    kernel.assign(tf.zeros_like(kernel))
    for score in (-300.0, -30.0, 0.0, 30.0, 300.0):
        bias.assign(tf.fill(bias.shape, score))
        with tf.GradientTape() as tape:
            logits = backbone(INPUTS, SCENARIO).logits
        np.testing.assert_allclose(logits, np.full((B, K), score), rtol=1e-6, atol=1e-6)
        gradient = tape.gradient(logits, bias)
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_gates_sum_to_one() -> None:
    """The implicit gates over experts, the explicit gate over scenarios."""
    inside = _made()(INPUTS, SCENARIO).intermediates
    for name, shape in {"expert_gates": (B, M, E), "scenario_gate": (B, M)}.items():
        assert inside[name].shape == shape
        np.testing.assert_allclose(np.sum(inside[name], axis=-1), 1, atol=1e-6)
        assert np.ptp(inside[name].numpy(), axis=-1).min() > 0


@pytest.mark.parametrize("scenario", range(M))
def test_an_example_trains_no_other_scenario(scenario: int) -> None:
    backbone = _made()
    # No dead unit, so that a gradient of zero is that of a stopped one.
    for weight in backbone.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(np.abs(INPUTS), np.full(B, scenario)).logits)
    weights = {w.name.removeprefix("hmoe/"): w for w in backbone.trainable_weights}
    gradients = tape.gradient(loss, weights)
    own = np.arange(M) == scenario
    for name, gradient in gradients.items():
        reached = np.abs(gradient).max(axis=(0, 2) if gradient.shape.rank == 3 else 1) > 0
        if name.startswith("towers"):
            # Another scenario's share is zero; in the own one, each task's is there.
            np.testing.assert_array_equal(reached, np.repeat(own, K), err_msg=name)
        elif "gates" in name:
            np.testing.assert_array_equal(reached, own, err_msg=name)
        else:
            assert reached.all(), name
    # The own explicit gate learns of all scenarios' scores.
    gate = gradients["scenario_gates/kernel:0"].numpy()[:, scenario]
    assert np.abs(gate).max(axis=0).min() > 0


def test_gradients_are_those_with_other_scenarios_scores_held() -> None:
    """Along a random direction in all weights at once, against the equations in float64."""
    backbone = _made()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(INPUTS, SCENARIO).logits)
    gradients = tape.gradient(loss, backbone.trainable_weights)
    direction = [np.random.default_rng(5).normal(size=g.shape) for g in gradients]
    slope = sum(np.sum(g.numpy() * d) for g, d in zip(gradients, direction, strict=True))

    base = checks.weights_of(backbone)
    names = [w.name.removeprefix("hmoe/").removesuffix(":0") for w in backbone.trainable_weights]
    step = dict(zip(names, direction, strict=True))

    def slope_of_the_equations(held_scores: np.ndarray | None) -> float:
        plus, minus = (
            _reference({n: w + h * step[n] for n, w in base.items()}, held_scores=held_scores)
            for h in (1e-6, -1e-6)
        )
        return (plus["logits"].sum() - minus["logits"].sum()) / 2e-6

    held = slope_of_the_equations(_reference(base)["scenario_scores"])
    assert slope == pytest.approx(held, rel=1e-4)
    assert abs(slope_of_the_equations(None) - held) > 0.05 * abs(held)


def test_refuses_gates_over_one_thing() -> None:
    with pytest.raises(ValueError, match="`num_scenarios` should be at least 2. Received: .*=1"):
        Hmoe(K, num_scenarios=1)
    with pytest.raises(ValueError, match="`num_experts` should be at least 2. Received: .*=1"):
        Hmoe(K, num_scenarios=M, num_experts=1)
