from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_models.losses import weighted_bce
from keras_models.tasks import Task


def test_weighted_bce_by_hand() -> None:
    labels = tf.constant([[1.0, 0.0], [0.0, 0.0]])
    logits = tf.constant([[2.0, 0.0], [-1.0, 3.0]])
    first = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    second = (math.log(2) + 3 + math.log1p(math.exp(-3))) / 2
    assert float(weighted_bce(labels, logits, [1.0, 0.5])) == pytest.approx(first + 0.5 * second)


def test_weighted_bce_stays_finite_for_extreme_logits() -> None:
    loss = weighted_bce(tf.constant([[1.0, 0.0]]), tf.constant([[-1e4, -1e4]]), [1.0, 1.0])
    assert float(loss) == 1e4
    assert np.isfinite(float(loss))


def test_task_needs_a_positive_weight() -> None:
    assert Task("click").weight == 1.0
    with pytest.raises(ValueError, match="`weight` of task `click` should be above 0"):
        Task("click", 0.0)
