"""How much better a cell is than it was in the last pushed version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfx_pipeline.evaluation import LOSS_KINDS


def quality(cell: Mapping[str, Any]) -> str:
    """The metric that stands for a cell: the AUC, or the loss of a task that has none."""
    return LOSS_KINDS.get(cell["kind"], "auc")


class Gain(NamedTuple):
    """A change for the better, in the cell's own metric; negative where it is for the worse.

    Args:
      value: AUC gained, or loss taken off.
      low: Lower end of its 95% interval.
      high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`gains` or `falls` where the interval leaves no doubt, else `unclear`."""
        if self.low > 0:
            return "gains"
        return "falls" if self.high < 0 else "unclear"


def gain(cell: Mapping[str, Any]) -> Gain | None:
    """The cell's change against the last pushed version; None where nothing compares."""
    metric = quality(cell)
    change = (cell["change"] or {}).get(metric)
    if change is None:
        return None
    difference, (low, high) = change["difference"], change["interval"]
    if metric == "auc":
        return Gain(difference, low, high)
    # Less loss is more quality.
    return Gain(-difference, -high, -low)
