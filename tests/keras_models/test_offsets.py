"""Offsets: base rates by hand, and corrections that make predictions add up."""

from __future__ import annotations

import numpy as np
import pytest

from keras_models.offsets import PRIOR_DEVIATION, base_offsets, corrections
from keras_models.tasks import Task

RNG = np.random.default_rng(3)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def test_base_offsets_by_hand():
    tasks = [
        Task("click"),
        Task("order", after="click"),
        Task("seconds", kind="regression"),
        Task("stars", kind="multiclass", classes=3),
        Task("gain", kind="ranking"),
        Task("never"),
    ]
    rows = {"click": 999, "order": 999, "seconds": 400, "stars": 100, "gain": 999, "never": 999}
    sums = {
        "click": [249.0],
        "order": [24.0],
        "seconds": [1000.0],
        "stars": [50.0, 30.0, 20.0],
        "gain": [12.0],
        "never": [0.0],
    }
    found = base_offsets(tasks, rows, {name: np.array(v) for name, v in sums.items()})
    assert found[:3] == pytest.approx([np.log(249.5 / 750.5), np.log(24.5 / 225.5), 2.5], rel=1e-6)
    stars = np.exp(found[3:6]) / np.exp(found[3:6]).sum()
    assert stars == pytest.approx([50.5 / 101.5, 30.5 / 101.5, 20.5 / 101.5], rel=1e-6)
    assert found[6:] == pytest.approx([0.0, np.log(0.5 / 999.5)])


def test_corrected_predictions_add_up_but_for_the_prior():
    logits = RNG.normal(-4.0, 1.0, (200_000, 1)).astype(np.float32)
    labels = (RNG.random(logits.shape) < _sigmoid(logits + 0.4)).astype(np.float32)
    (delta,) = corrections([Task("like")], logits, labels)
    surplus = labels.sum() - _sigmoid(logits.astype(np.float64) + delta).sum()
    assert surplus == pytest.approx(delta / PRIOR_DEVIATION**2, rel=1e-3)
    assert delta == pytest.approx(0.4, abs=0.03) and labels.sum() > 5000
    assert abs(surplus) / labels.sum() < 0.01


def test_a_thin_task_keeps_what_training_made_of_it():
    logits = np.full([1000, 1], -9.0, np.float32)
    labels = np.zeros([1000, 1], np.float32)
    labels[:3] = 1
    (delta,) = corrections([Task("order")], logits, labels)
    assert 0 < delta < 3 * PRIOR_DEVIATION**2


def test_a_chain_adds_up_in_the_end_and_in_its_space():
    size = 300_000
    logits = RNG.normal([-1.0, -2.0, 0.5], 0.5, (size, 3)).astype(np.float32)
    click = RNG.random(size) < _sigmoid(logits[:, 0] - 0.3)
    order = click & (RNG.random(size) < _sigmoid(logits[:, 1] + 0.5))
    labels = np.stack([click, order, RNG.random(size) < 0.5], axis=1).astype(np.float32)
    spaces = np.ones([size, 3], np.float32)
    spaces[: size // 2, 2] = 0
    tasks = [Task("click"), Task("order", after="click"), Task("like")]
    delta = corrections(tasks, logits, labels, spaces).astype(np.float64)
    p = _sigmoid(logits.astype(np.float64) + delta)
    assert (p[:, 0] * p[:, 1]).sum() / order.sum() == pytest.approx(1, abs=0.005)
    assert p[:, 0].sum() / click.sum() == pytest.approx(1, abs=0.005)
    assert p[size // 2 :, 2].mean() / labels[size // 2 :, 2].mean() == pytest.approx(1, abs=0.005)


def test_other_kinds_stay():
    tasks = [Task("seconds", kind="regression"), Task("gain", kind="ranking")]
    tasks.append(Task("stars", kind="multiclass", classes=3))
    logits = RNG.normal(size=(50, 5)).astype(np.float32)
    assert corrections(tasks, logits, np.ones([50, 3], np.float32)).tolist() == [0.0] * 5
