"""HiNet against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.hinet import HiNet

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M, Q, P, S = 11, 6, 3, 5, 4, 2, 7
SUB_UNITS, UNITS = [9, 8], [10, 4]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
# The last scenario has no example.
SCENARIO = np.concatenate([np.arange(M - 1), RNG.integers(M - 1, size=B - M + 1)])


def _make() -> HiNet:
    return HiNet(
        K,
        num_scenarios=M,
        sub_experts=Q,
        sub_expert_units=SUB_UNITS,
        scenario_dim=3,
        experts_per_task=P,
        shared_experts=S,
        expert_units=UNITS,
        name="hinet",
    )


def _made() -> HiNet:
    backbone = _make()
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def _reference(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The equations one example, scenario, task and expert at a time."""
    made: dict[str, list] = {}
    for x, i in zip(INPUTS.astype(np.float64), SCENARIO, strict=True):
        sei_gates = [checks.softmax(x @ weights["sei/gates/kernel"][:, m]) for m in range(1 + M)]
        shared, *own = (
            sum(
                sei_gates[m][q] * checks.mlp(weights, "sei/sub_experts/layer_", m * Q + q, x)
                for q in range(Q)
            )
            for m in range(1 + M)
        )
        logits = weights["san/embedding"][i] @ weights["san/kernel"]
        others = [m for m in range(M) if m != i]
        attention = np.zeros(M)
        attention[others] = checks.softmax(logits[others])
        c = np.concatenate([shared, own[i], sum(attention[m] * own[m] for m in others)])

        of_scenario = {
            name.removeprefix("task_layer/"): weight[i]
            for name, weight in weights.items()
            if name.startswith("task_layer/")
        }
        experts = [checks.mlp(of_scenario, "experts/layer_", n, c) for n in range(K * P + S)]
        gates = [checks.softmax(c @ of_scenario["gates/kernel"][:, k]) for k in range(K)]
        hidden = []
        for k in range(K):
            read = experts[k * P : (k + 1) * P] + experts[K * P :]
            hidden.append(sum(g * e for g, e in zip(gates[k], read, strict=True)))
        values = {
            "hidden": hidden,
            "san_weights": attention,
            "sei_gates": sei_gates,
            "task_gates": gates,
        }
        for name, value in values.items():
            made.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in made.items()}


def test_equals_the_equations() -> None:
    backbone = _made()
    output = backbone(INPUTS, SCENARIO)
    assert output.hidden.shape == (B, K, UNITS[-1])
    made, expected = checks.tensors_of(output), _reference(checks.weights_of(backbone))
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(made[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_gates_sum_to_one_over_experts_and_other_scenarios() -> None:
    gates = _made()(INPUTS, SCENARIO).intermediates
    sizes = {"san_weights": M, "sei_gates": Q, "task_gates": P + S}
    assert {name: gate.shape[-1] for name, gate in gates.items()} == sizes
    for gate in gates.values():
        np.testing.assert_allclose(np.sum(gate, axis=-1), 1, atol=1e-6)
        assert np.ptp(gate.numpy(), axis=-1).min() > 0
    own = gates["san_weights"].numpy()[np.arange(B), SCENARIO]
    np.testing.assert_array_equal(own, 0)


def _gradients(backbone: HiNet, scenario: np.ndarray) -> dict[str, np.ndarray]:
    # Nothing negative and nothing large: no unit is dead and no gate shut, so that a gradient of
    # zero is a mistake.
    for weight in backbone.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    inputs = np.random.default_rng(3).uniform(size=[len(scenario), IN]).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(inputs, scenario, training=True).hidden ** 2)
    gradients = tape.gradient(loss, backbone.trainable_weights)
    for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.name
    return {
        weight.name.removeprefix("hinet/").removesuffix(":0"): np.array(gradient)
        for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True)
    }


def test_every_weight_gets_a_gradient() -> None:
    """Each scenario's, expert's and gate's share of it: a wrong index would leave one out."""
    for name, gradient in _gradients(_made(), np.arange(80) % M).items():
        # [M, ..., N, O] in the task layer, else [..., N, O].
        scenarios = M if name.startswith("task_layer/") else 1
        by_scenario = gradient.reshape(scenarios, -1, *gradient.shape[-2:])
        shares = np.moveaxis(by_scenario, 2, 1).reshape(scenarios, gradient.shape[-2], -1)
        assert np.abs(shares).max(axis=-1).min() > 0, name


def test_an_example_changes_no_other_scenarios_private_weights() -> None:
    i = 2
    for name, gradient in _gradients(_made(), np.full(20, i)).items():
        if name.startswith("task_layer/") or name == "san/embedding":
            reached = np.abs(gradient).reshape(M, -1).max(axis=1) > 0
            assert np.flatnonzero(reached).tolist() == [i], name
        elif name.startswith("sei/"):
            # By way of A_i it changes what it takes from all of them.
            shares = np.moveaxis(gradient, -2, 0).reshape(gradient.shape[-2], -1)
            assert np.abs(shares).max(axis=1).min() > 0, name


def test_traces_with_an_unknown_batch_size() -> None:
    backbone = _made()
    specs = [tf.TensorSpec([None, IN]), tf.TensorSpec([None], tf.int64)]
    traced = tf.function(lambda *args: checks.tensors_of(backbone(*args)), specs, autograph=False)
    for size in (B, 3):
        made = traced(INPUTS[:size], SCENARIO[:size])
        for name, value in checks.tensors_of(backbone(INPUTS[:size], SCENARIO[:size])).items():
            np.testing.assert_allclose(made[name], value, atol=1e-6)
            assert made[name].shape[1:].is_fully_defined()


def test_refuses_what_has_no_attention_or_no_choice() -> None:
    with pytest.raises(ValueError, match="`num_scenarios` should be at least 2"):
        HiNet(K, num_scenarios=1)
    with pytest.raises(ValueError, match="`sub_experts` should be at least 2"):
        HiNet(K, num_scenarios=M, sub_experts=1)
