from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.missing_value import MissingValue
from keras_models.precision import precision

NAN = float("nan")
# Number 1 is present as 0 in the first row, and missing as 0 in the second.
NUMBERS = np.array([[0.5, 0.0, -2.0], [1.5, 0.0, NAN], [0.0, 7.0, 3.0]], np.float32)
MASKS = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], np.float32)
INPUTS = np.concatenate([NUMBERS, MASKS], axis=1)
FILL = [0.25, -1.0, 4.0]


@pytest.mark.parametrize("xla", [False, True])
def test_fills_in_what_is_missing_and_nothing_else(xla: bool) -> None:
    layer = MissingValue(FILL)
    call = tf.function(layer, jit_compile=True) if xla else layer
    expected = [[0.5, 0.0, 4.0], [0.25, -1.0, 4.0], [0.0, 7.0, 3.0]]
    np.testing.assert_array_equal(call(INPUTS), np.concatenate([expected, MASKS], axis=1))


@pytest.mark.parametrize(("initial", "expected"), [(0.0, [0, 0, 0]), (2, [2] * 3), (FILL, FILL)])
def test_starts_where_it_is_told(initial: float | list[float], expected: list[float]) -> None:
    layer = MissingValue(initial)
    layer(INPUTS)
    np.testing.assert_array_equal(layer.fill, expected)


def test_starts_at_the_mean() -> None:
    layer = MissingValue()
    layer(INPUTS)
    np.testing.assert_array_equal(layer.fill, np.zeros(3))


def test_learns_from_the_missing_and_passes_gradients_to_the_present() -> None:
    layer, inputs = MissingValue(FILL), tf.constant(INPUTS)
    upstream = np.arange(18, dtype=np.float32).reshape(3, 6) + 1
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(upstream * layer(inputs))
    to_fill, to_inputs = tape.gradient(loss, [layer.fill, inputs])
    np.testing.assert_array_equal(to_fill, np.sum(upstream[:, :3] * (1 - MASKS), axis=0))
    np.testing.assert_array_equal(
        to_inputs, np.concatenate([upstream[:, :3] * MASKS, upstream[:, 3:]], axis=1)
    )


def test_no_numbers_are_no_numbers() -> None:
    assert MissingValue()(tf.zeros([4, 0])).shape == (4, 0)


def test_runs_in_mixed_precision() -> None:
    with precision("mixed_bfloat16"):
        layer = MissingValue(FILL)
    with tf.GradientTape() as tape:
        outputs = layer(INPUTS)
        loss = tf.reduce_sum(outputs)
    assert outputs.dtype == tf.bfloat16
    (gradient,) = tape.gradient(loss, layer.trainable_weights)
    assert gradient.dtype == tf.float32
    np.testing.assert_array_equal(gradient, [1, 1, 2])


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"\[B, 2N\]. Received: shape \(4, 3\)"):
        MissingValue()(tf.zeros([4, 3]))
    with pytest.raises(ValueError, match="each of the 2 numbers. Received: 3 values"):
        MissingValue(FILL)(tf.zeros([4, 4]))


@pytest.mark.parametrize("initial", [0.0, FILL])
def test_config_round_trip(initial: float | list[float]) -> None:
    layer = MissingValue(initial)
    assert MissingValue.from_config(layer.get_config()).get_config() == layer.get_config()
