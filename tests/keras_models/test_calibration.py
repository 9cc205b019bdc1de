"""Calibration against its likelihood, and through a model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models import calibration
from keras_models.calibration import Calibration, fit_calibration
from keras_models.tasks import Task

RNG = np.random.default_rng(4)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def draw(z: np.ndarray) -> np.ndarray:
    return (RNG.random(z.shape) < sigmoid(z)).astype(np.float32)


def fit(tasks, logits, labels, scenario=None, groups="task", spaces=None, number=2):
    scenario = np.zeros(len(logits), np.int64) if scenario is None else scenario
    return fit_calibration(
        tasks,
        logits.astype(np.float32),
        labels,
        scenario,
        num_scenarios=number,
        groups=groups,
        spaces=spaces,
    )


def test_a_model_that_is_too_sure_is_found_out() -> None:
    truth = RNG.normal(-2, 1, [400_000, 1])
    slopes, shifts = fit([Task("like")], 1.6 * truth + 0.5, draw(truth))
    # The truth is (z - .5) / 1.6.
    assert slopes == pytest.approx(1 / 1.6, abs=0.01) and slopes.shape == (2, 1)
    assert shifts == pytest.approx(-0.5 / 1.6, abs=0.02)


def test_scenarios_have_their_own_and_thin_ones_stay_with_the_task() -> None:
    size = 300_000
    truth = RNG.normal(-1, 1, [size, 1])
    scenario = (np.arange(size) % 2).astype(np.int64)
    scenario[:6] = 2
    labels = draw(truth + np.array([0.0, 0.4, 0.0])[scenario][:, None])
    labels[:6] = 1
    both = fit([Task("like")], truth, labels, scenario, number=4)
    assert np.unique(both[1]).size == 1 and both[1][0, 0] == pytest.approx(0.2, abs=0.02)
    slopes, shifts = fit(
        [Task("like")], truth, labels, scenario, groups="task_and_scenario", number=4
    )
    assert shifts[:2, 0] == pytest.approx([0, 0.4], abs=0.03)
    assert slopes[:2, 0] == pytest.approx(1, abs=0.03)
    assert both[1][0, 0] < shifts[2, 0] < both[1][0, 0] + 0.25, "six rows say little"
    assert (slopes[3, 0], shifts[3, 0]) == (both[0][0, 0], both[1][0, 0]), "no rows say nothing"


def test_it_is_the_most_probable_one() -> None:
    """By a grid over a and b."""
    z = RNG.normal(-1, 1, 500)
    y = draw(0.8 * z - 0.3)
    slopes, shifts = fit([Task("like")], z[:, None], y[:, None], number=1)

    def loss(a: float, b: float) -> float:
        p = sigmoid(a * z + b)
        deviations = calibration.TASK_PRIOR
        prior = (np.log(a) / deviations[0]) ** 2 / 2 + (b / deviations[1]) ** 2 / 2
        return float(prior - np.sum(np.where(y > 0, np.log(p), np.log1p(-p))))

    best = loss(slopes[0, 0], shifts[0, 0])
    grid = [loss(a, b) for a in np.linspace(0.3, 2, 60) for b in np.linspace(-1.5, 1, 60)]
    assert best <= min(grid) + 1e-6
    assert min(grid) - best < 0.05


def test_a_chain_and_a_space() -> None:
    """`order` comes after `click`, and `like` has labels in half of the rows."""
    size = 300_000
    truth = RNG.normal([-1, -0.5, 0.5], 1, [size, 3])
    click = draw(truth[:, 0])
    order = click * draw(truth[:, 1])
    labels = np.stack([click, order, draw(truth[:, 2])], axis=1)
    spaces = np.ones([size, 3], np.float32)
    spaces[: size // 2, 2] = 0
    labels[: size // 2, 2] = 1
    tasks = [Task("click"), Task("order", after="click"), Task("like")]
    slopes, shifts = fit(tasks, truth * [1.5, 0.7, 1.0] + [0.3, -0.4, 0.2], labels, spaces=spaces)
    assert slopes[0] == pytest.approx([1 / 1.5, 1 / 0.7, 1], abs=0.03)
    assert shifts[0] == pytest.approx([-0.3 / 1.5, 0.4 / 0.7, -0.2], abs=0.03)


def test_what_cannot_be_told_stays() -> None:
    tasks = [
        Task("never"),
        Task("stars", kind="multiclass", classes=3),
        Task("watch", kind="regression"),
    ]
    logits = RNG.normal(size=[50, 5])
    slopes, shifts = fit(tasks, logits, np.zeros([50, 3], np.float32))
    assert (slopes == 1).all() and (shifts == 0).all()


def test_order_within_a_cell_never_changes() -> None:
    """Also where the logits rank the labels the wrong way round."""
    z = RNG.normal(size=[5_000, 1])
    slopes, _ = fit([Task("like")], z, draw(-2 * z))
    assert (slopes > 0).all()


def test_the_layer_gathers_by_scenario() -> None:
    layer = Calibration(3, 2, groups="task_and_scenario")
    logits = tf.constant([[1.0, -1.0], [2.0, 0.5]])
    np.testing.assert_array_equal(layer(logits, tf.constant([0, 2], tf.int64)), logits)
    slopes = np.array([[1, 1], [1, 1], [2, 0.5]], np.float32)
    shifts = np.array([[0.5, 0], [0, 0], [0, -1]], np.float32)
    layer.assign(slopes, shifts)
    found = layer(logits, tf.constant([0, 2], tf.int64))
    np.testing.assert_allclose(found, [[1.5, -1.0], [4.0, -0.75]])
    np.testing.assert_allclose(layer(logits, tf.constant([2], tf.int64))[0], [2.0, -1.5])
    assert not layer.trainable_weights
