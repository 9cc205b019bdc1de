from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers import Cgc
from keras_models.layers.scenario_cgc import ScenarioCgc

# Sizes that differ, so that no axis is taken for another.
M, K, P, S, IN = 4, 3, 2, 5, 7
SCENARIO = tf.constant([3, 0, 3, 1, 1, 0, 3, 1, 1], tf.int64)
INPUTS = tf.constant(np.random.default_rng(0).normal(size=(len(SCENARIO), IN)), tf.float32)


@pytest.mark.parametrize("units", [[8], [8, 6]])
def test_equals_a_cgc_for_each_scenario(units: list[int]) -> None:
    rng = np.random.default_rng(1)
    layer = ScenarioCgc(M, K, P, S, units, name="task_layer")
    layer(INPUTS, SCENARIO)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    weights = {w.name.removeprefix("task_layer/"): w.numpy() for w in layer.weights}
    outputs, gates = layer(INPUTS, SCENARIO)
    assert outputs.shape == (len(SCENARIO), K, units[-1])
    for i in set(SCENARIO.numpy()):
        rows = np.flatnonzero(SCENARIO == i)
        cgc = Cgc(K, P, S, units, shared_gate=False, name="cgc")
        cgc(INPUTS)
        for weight in cgc.trainable_weights:
            name = weight.name.removeprefix("cgc/").replace("task_gates", "gates")
            weight.assign(weights[name][i])
        expected, expected_gates = cgc(tf.gather(INPUTS, rows))
        np.testing.assert_allclose(outputs.numpy()[rows], expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(
            gates.numpy()[rows], expected_gates["task_gates"], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("num_scenarios", [4, 40])
def test_products_have_as_many_rows_as_the_batch(num_scenarios: int) -> None:
    layer = ScenarioCgc(num_scenarios, K, P, S, [8])

    @tf.function(autograph=False)
    def rows_in_products(inputs: tf.Tensor, scenario: tf.Tensor) -> tf.Tensor:
        layer(inputs, scenario)
        products = [
            op for op in tf.compat.v1.get_default_graph().get_operations() if op.type == "MatMul"
        ]
        return tf.reduce_sum([tf.shape(op.inputs[0])[0] for op in products])

    layer(INPUTS, SCENARIO)
    # Experts and gates.
    assert rows_in_products(INPUTS, SCENARIO) == 2 * len(SCENARIO)


def test_config_round_trip() -> None:
    layer = ScenarioCgc(M, K, P, S, [8, 6])
    assert ScenarioCgc.from_config(layer.get_config()).get_config() == layer.get_config()
