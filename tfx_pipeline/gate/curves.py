"""ROC and calibration curves, thinned for plots."""

from __future__ import annotations

from typing import Any

import numpy as np

_POINTS = 101
_BINS = 10
_Z = 1.959964
"""97.5% quantile of the normal distribution."""


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """The empirical ROC curve, at most 101 of its points, evenly along it, both ends among them.

    Args:
      positive: bool [B], both classes.
      scores: [B].

    Returns:
      `false_positive_rate` and `true_positive_rate`, ascending.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Rows of one score come in together.
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    above = np.cumsum(positive[order])[last]
    true = np.r_[0, above] / positive.sum()
    false = np.r_[0, last + 1 - above] / (~positive).sum()
    kept = np.unique(np.searchsorted(true + false, np.linspace(0, 2, _POINTS)).clip(max=len(last)))
    return {
        "false_positive_rate": false[kept].tolist(),
        "true_positive_rate": true[kept].tolist(),
    }


def calibration_curve(positive: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """Mean prediction and share of positives of at most 10 bins of equal rows, by prediction.

    Args:
      positive: bool [B].
      predicted: [B], probabilities.

    Returns:
      A `{"rows", "predicted", "observed", "low", "high"}` each, in ascending order of predictions;
      low and high are the 95% interval of the share of positives by Wilson, "Probable inference,
      the law of succession, and statistical inference", JASA 1927.
    """
    bins = np.array_split(np.argsort(predicted, kind="stable"), _BINS)
    return [_bin(positive[rows], predicted[rows]) for rows in bins if len(rows)]


def _bin(positive: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    rows, share = len(positive), float(positive.mean())
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    margin = _Z * np.sqrt(share * (1 - share) / rows + (_Z / (2 * rows)) ** 2) / (1 + _Z**2 / rows)
    return {
        "rows": rows,
        "predicted": float(predicted.mean()),
        "observed": share,
        # Which hold the share itself, whatever is rounded off.
        "low": min(share, float(middle - margin)),
        "high": max(share, float(middle + margin)),
    }
