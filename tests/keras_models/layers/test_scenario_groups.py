from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.scenario_groups import ScenarioGroups

SCENARIO = tf.constant([2, 0, 2, 4, 0, 2, 4])
M, IN = 5, 3


def _examples(size: int = len(SCENARIO)) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(size, IN)), tf.float32)


def test_groups_hold_the_examples_of_their_scenario_in_order() -> None:
    examples = _examples()
    groups = ScenarioGroups(SCENARIO, M).group(examples)
    rows = [[1, 4], [], [0, 2, 5], [], [3, 6]]
    assert len(groups) == M
    for group, of_scenario in zip(groups, rows, strict=True):
        np.testing.assert_array_equal(group, examples.numpy()[of_scenario])


def test_ungroup_undoes_group_and_takes_other_shapes() -> None:
    examples = _examples()
    groups = ScenarioGroups(SCENARIO, M)
    grouped = groups.group(examples)
    np.testing.assert_array_equal(groups.ungroup(grouped), examples)
    wider = groups.ungroup([tf.stack([group, 2 * group], axis=1) for group in grouped])
    np.testing.assert_array_equal(wider, np.stack([examples, 2 * examples], axis=1))


def test_gradients_go_back_to_their_examples() -> None:
    examples = _examples()
    with tf.GradientTape() as tape:
        tape.watch(examples)
        groups = ScenarioGroups(SCENARIO, M)
        scaled = [group * (i + 1) for i, group in enumerate(groups.group(examples))]
        outputs = groups.ungroup(scaled) * tf.range(1.0, len(SCENARIO) + 1)[:, tf.newaxis]
    by_row = (SCENARIO.numpy() + 1.0) * np.arange(1, len(SCENARIO) + 1)
    np.testing.assert_allclose(tape.gradient(outputs, examples), by_row[:, None].repeat(IN, 1))


@pytest.mark.parametrize("size", [0, 1, 7])
def test_traces_with_an_unknown_batch_size(size: int) -> None:
    specs = [tf.TensorSpec([None, IN]), tf.TensorSpec([None], tf.int64)]

    @tf.function(input_signature=specs, autograph=False)
    def there_and_back(examples: tf.Tensor, scenario: tf.Tensor) -> tf.Tensor:
        groups = ScenarioGroups(scenario, M)
        return groups.ungroup(groups.group(examples))

    examples = _examples(size)
    scenario = tf.cast(SCENARIO[:size], tf.int64)
    np.testing.assert_array_equal(there_and_back(examples, scenario), examples)


@pytest.mark.parametrize("scenario", [-1, M])
def test_refuses_a_scenario_that_is_none(scenario: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="partitions"):
        ScenarioGroups(tf.constant([0, scenario]), M)
