from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_models.heads import IndependentHead
from keras_models.precision import precision
from keras_models.tasks import Task

TASKS = [
    Task("click"),
    Task("power", kind="multiclass", classes=3),
    Task("ratio", kind="regression"),
    Task("order", kind="ranking"),
]
LOGITS = np.array([[0.0, 1.0, 2.0, 3.0, -4.0, 1e4], [-1e4, 5.0, 5.0, 5.0, 0.5, -1.0]])


def test_logits_stay_as_they_are() -> None:
    logits = tf.constant(LOGITS, tf.float32)
    np.testing.assert_array_equal(IndependentHead(TASKS)(logits), LOGITS)


def test_what_is_served_by_kind() -> None:
    with precision("mixed_bfloat16"):
        head = IndependentHead(TASKS)
    served = head.outputs(tf.constant(LOGITS, tf.float32))
    assert list(served) == ["click", "power", "ratio", "order"]
    assert {value.dtype for value in served.values()} == {tf.float32}
    np.testing.assert_allclose(served["click"], [0.5, 0.0])
    softmax = np.exp([1.0, 2.0, 3.0]) / np.exp([1.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(served["power"], [softmax, [1 / 3] * 3], rtol=1e-6)
    np.testing.assert_array_equal(served["ratio"], [-4.0, 0.5])
    np.testing.assert_allclose(served["order"], [1.0, 1 / (1 + np.e)], rtol=1e-6)


def test_its_config_makes_it_again() -> None:
    head = IndependentHead(TASKS)
    assert IndependentHead.from_config(head.get_config()).tasks == tuple(TASKS)
