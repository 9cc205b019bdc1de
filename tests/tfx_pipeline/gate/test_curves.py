"""ROC and calibration curves."""

from __future__ import annotations

import numpy as np
import pytest

from keras_models.metrics import auc
from tfx_pipeline.gate.curves import calibration_curve, roc_curve


def test_a_small_roc_curve_is_whole() -> None:
    found = roc_curve(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.1]))
    # The tied rows come in together.
    assert found == {"false_positive_rate": [0, 0, 0.5, 1], "true_positive_rate": [0, 0.5, 1, 1]}


@pytest.mark.parametrize("rows", [50, 2_000])
def test_the_points_are_those_of_the_curve(rows: int) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(rows) < 0.2
    scores = np.round(rng.normal(size=rows) + positive, 3)
    found = roc_curve(positive, scores)
    x, y = np.array(found["false_positive_rate"]), np.array(found["true_positive_rate"])
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1) and len(x) <= 101
    assert np.all(np.diff(x) >= 0) and np.all(np.diff(y) >= 0)
    every = {
        (
            (~positive)[scores >= s].sum() / (~positive).sum(),
            positive[scores >= s].sum() / sum(positive),
        )
        for s in [*np.unique(scores), np.inf]
    }
    assert set(zip(x, y, strict=True)) <= every
    assert np.trapz(y, x) == pytest.approx(auc(positive, scores), abs=0.003)


def test_calibration_bins_hold_equal_rows_and_wilsons_interval() -> None:
    predicted = np.r_[np.full(50, 0.1), np.full(50, 0.9)]
    positive = np.r_[np.arange(50) < 4, np.arange(50) < 41]
    rng = np.random.default_rng(0)
    order = rng.permutation(100)
    found = calibration_curve(positive[order], predicted[order])
    assert [bin["rows"] for bin in found] == [10] * 10
    assert [bin["predicted"] for bin in found] == pytest.approx([0.1] * 5 + [0.9] * 5)
    assert sum(bin["observed"] for bin in found[:5]) == pytest.approx(0.4)
    assert all(bin["low"] <= bin["observed"] <= bin["high"] for bin in found)


def test_wilson_by_hand() -> None:
    from tfx_pipeline.gate.curves import _bin

    found = _bin(np.arange(10) < 2, np.full(10, 0.3))
    assert (found["low"], found["high"]) == pytest.approx((0.0567, 0.5098), abs=1e-4)
    assert (found["rows"], found["observed"]) == (10, 0.2)


def test_fewer_rows_than_bins() -> None:
    assert [bin["rows"] for bin in calibration_curve(np.array([True, False]), np.zeros(2))] == [
        1,
        1,
    ]
