"""What metrics are called, and which are marked, where people read of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRIC_NAMES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "ndcg": "NDCG",
    "logloss": "log loss",
    "normalized_entropy": "normalized entropy",
    "calibration": "calibration",
    "mse": "mean squared error",
    "accuracy": "accuracy",
}

FEW_USERS = 50
"""A GAUC of fewer is marked where it is shown: it says little of anyone else."""


def is_of_few(cell: Mapping[str, Any]) -> bool:
    """Whether the GAUC of a cell, as `Cell.as_dict` gives it, is one of few users."""
    users = cell.get("gauc_users")
    return cell["gauc"] is not None and users is not None and users < FEW_USERS
