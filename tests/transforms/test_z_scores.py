"""Log-scaled z-scores against NumPy, at any scale, in any order and in any parts."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from transforms import z_scores
from transforms.z_scores import log_z_scores

ROWS = 5_000
SCALES = [10.0**i for i in range(-12, 13)]


def columns(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values float32 [ROWS, N], of every scale: close together, spread out, and of both signs."""
    random = np.random.default_rng(seed)
    drawn = []
    for scale in SCALES:
        drawn += [
            random.normal(3.0, 1.0, ROWS) * scale,
            (1.0 + random.integers(0, 50, ROWS) * 1e-6) * scale,
            random.lognormal(0.0, 3.0, ROWS) * scale,
            np.where(random.random(ROWS) < 0.99, 0.0, random.normal(0.0, scale, ROWS)),
        ]
    values = np.stack(drawn, axis=1).astype(np.float32)
    return values, random.random(values.shape) < 0.8


def combined(monkeypatch: pytest.MonkeyPatch, seed: int, parts: int) -> None:
    """Has z_scores combine what parts of the rows give, in an order that chance draws."""

    def analyzer(reduce, combine):
        def analyze(values, reduce_instance_dims, name):
            assert not reduce_instance_dims and name
            random = np.random.default_rng(seed)
            cuts = np.sort(random.integers(0, len(values), parts - 1))
            given = [reduce(part) for part in np.split(values.numpy(), cuts) if len(part)]
            random.shuffle(given)
            return tf.constant(functools.reduce(combine, given))

        return analyze

    tft = SimpleNamespace(
        sum=analyzer(lambda x: x.sum(axis=0), np.add),
        max=analyzer(lambda x: x.max(axis=0), np.maximum),
    )
    monkeypatch.setattr(z_scores, "tft", tft)


def plain(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The same in NumPy, with centred squares."""
    values = values.astype(np.float64)
    logs = np.sign(values) * np.log1p(np.abs(values))
    logs = np.where(present, logs, np.nan)
    centred = logs - np.nanmean(logs, axis=0)
    return np.nan_to_num(centred / np.sqrt(np.nanmean(centred**2, axis=0)))


def test_at_any_scale_they_are_what_numpy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    values, present = columns(0)
    combined(monkeypatch, 0, 7)
    found = log_z_scores(tf.constant(values), tf.constant(present), "moments").numpy()
    expected = plain(values, present)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # As the name says, over present values, also where a column is next to nothing or huge.
    for column, mask in zip(found.T, present.T, strict=True):
        assert abs(column[mask].mean()) < 1e-4
        assert abs(column[mask].std() - 1.0) < 1e-4
        assert not column[~mask].any()


def test_order_and_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values, present = columns(1)
    found = []
    for seed, parts in ((0, 1), (1, 2), (2, 13), (3, 400)):
        order = np.random.default_rng(seed).permutation(ROWS)
        combined(monkeypatch, seed, parts)
        shuffled = tf.constant(values[order]), tf.constant(present[order])
        z = np.empty_like(values)
        z[order] = log_z_scores(*shuffled, "moments")
        found.append(z)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    # Plain sums of the same logs do depend on it.
    logs = np.log1p(np.abs(values[:, 2].astype(np.float64))).tolist()
    assert functools.reduce(float.__add__, logs) != functools.reduce(float.__add__, logs[::-1])


def test_one_value_far_from_a_million_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case for a range: the deviation is a thousandth of it."""
    combined(monkeypatch, 0, 3)
    values = np.full([1_000_000, 1], 1e-3, np.float32)
    values[::2] = 2e-3
    values[7] = 1e12
    present = np.ones_like(values, bool)
    found = log_z_scores(tf.constant(values), tf.constant(present), "moments").numpy()
    np.testing.assert_allclose(found, plain(values, present), rtol=1e-5, atol=1e-7)


def test_columns_that_do_not_vary_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    combined(monkeypatch, 0, 2)
    values = np.repeat([[0.1, -3e-12, 7e11, 5.0]], 3, axis=0).astype(np.float32)
    present = np.array([[True, True, True, False]] * 3)
    found = log_z_scores(tf.constant(values), tf.constant(present), "moments").numpy()
    assert not found.any()
