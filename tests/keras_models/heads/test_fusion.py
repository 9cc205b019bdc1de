from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_models.heads import ScoreFusion

OUTPUTS = {
    "click": tf.constant([0.5, 0.1, 0.0]),
    "like": tf.constant([0.2, 1.0, 0.3]),
    "other": tf.constant([9.0, 9.0, 9.0]),
}
LENGTH = tf.constant([30.0, 0.0, 2.0])
P, Q, X = (np.array(v, np.float64) for v in ([0.5, 0.1, 0.0], [0.2, 1.0, 0.3], [3.0, 0.0, 0.2]))


def test_the_log_of_a_product_of_powers() -> None:
    score = ScoreFusion({"click": 2.0, "like": 0.5})(OUTPUTS)
    assert score.shape == (3,) and score.dtype == tf.float32
    np.testing.assert_allclose(score[:2], np.log((P**2 * Q**0.5)[:2]), rtol=1e-5)
    np.testing.assert_allclose(score[2], 2 * np.log(2.0**-126) + np.log(0.3**0.5), rtol=1e-5)


def test_scores_that_are_no_float32_as_products_keep_their_order() -> None:
    outputs = {"a": tf.constant([1e-20, 1e-21, 1e-30]), "b": tf.constant([1e-33, 1e-36, 1e-37])}
    logs = np.log(10) * np.array([-53.0, -57.0, -67.0])
    np.testing.assert_allclose(ScoreFusion({"a": 1.0, "b": 1.0})(outputs), logs, rtol=1e-6)
    inverse = ScoreFusion({"a": -1.0, "b": -2.0})(outputs)
    np.testing.assert_allclose(inverse, np.log(10) * np.array([86.0, 93.0, 104.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("log1p", np.log1p(X)),
        ("sigmoid", 1 / (1 + np.exp(-X))),
        ("power", X**0.3),
    ],
)
def test_times_a_function_of_the_length(function: Any, expected: np.ndarray) -> None:
    fusion = ScoreFusion(
        {"like": 1.0}, length_column="ms", length_function=function, unit=10.0, power=0.3
    )
    found = np.exp(fusion(OUTPUTS, LENGTH))
    np.testing.assert_allclose(found, Q * expected, rtol=1e-5, atol=1e-10)


def test_a_missing_length_is_what_it_was_said_to_count_as() -> None:
    fusion = ScoreFusion(
        {"like": 1.0}, length_column="ms", length_function="power", missing_length=7.0
    )
    length = tf.constant([np.nan, -1.0, 3.0])
    found = np.exp(fusion(OUTPUTS, length))
    np.testing.assert_allclose(found, [0.2 * 7, 0.0, 0.9], rtol=1e-5, atol=1e-30)


def test_probabilities_that_float32_calls_zero_do_not_spoil_it() -> None:
    outputs = {"a": tf.constant([0.0, 1e-30, 1.0]), "b": tf.constant([1.0, 1.0, 1.0])}
    score = ScoreFusion({"a": 0.5, "b": 3.0})(outputs).numpy()
    assert np.isfinite(score).all() and (np.diff(score) > 0).all()


def test_its_config_makes_it_again() -> None:
    fusion = ScoreFusion({"like": 2.0}, length_column="ms", length_function="log1p", unit=1000.0)
    again = ScoreFusion.from_config(fusion.get_config())
    np.testing.assert_array_equal(again(OUTPUTS, LENGTH), fusion(OUTPUTS, LENGTH))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weights": {}}, "a finite number for each of some tasks"),
        ({"weights": {"a": float("nan")}}, "a finite number"),
        ({"length_function": "cube", "length_column": "x"}, "Received: cube"),
        ({"length_column": "x"}, "exactly where `length_function` reads it"),
        ({"length_function": "log1p"}, "exactly where `length_function` reads it"),
        ({"unit": 0.0}, "`unit` should be above 0"),
        ({"missing_length": -1.0}, "`missing_length` should be at least 0"),
    ],
)
def test_refuses_what_does_not_fit(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScoreFusion(**{"weights": {"click": 1.0}, **arguments})


def test_asks_for_the_length() -> None:
    fusion = ScoreFusion({"like": 1.0}, length_column="ms", length_function="log1p")
    with pytest.raises(ValueError, match="`length` should be column `ms`"):
        fusion(OUTPUTS)
