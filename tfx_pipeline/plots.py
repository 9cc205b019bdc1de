"""Plots of the report, as SVG that takes its colours from the page."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Replaced by the page's text colour, so that axes are readable in light and in dark.
_INK = "#010203"
_STYLE = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_LINES = ["#2f81f7", "#d9822b", "#2da44e", "#bf5af2", "#e5534b", "#0fa3a3"]


def training_curves(epochs: list[dict[str, Any]], tasks: list[str]) -> str:
    """Training loss, and each task's AUC on the valid days, by epoch.

    Args:
      epochs: A `keras_models.training.Epoch` each, as plain values.
      tasks: Names of the tasks.

    Returns:
      An `<svg>` element.
    """
    numbers = [epoch["epoch"] for epoch in epochs]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        loss, auc = figure.subplots(1, 2)
        loss.plot(numbers, [epoch["loss"] for epoch in epochs], marker="o", color=_LINES[0])
        loss.set(title="Training loss", xlabel="epoch")
        for i, task in enumerate(tasks):
            values = [epoch["valid_auc"][task] for epoch in epochs]
            auc.plot(numbers, values, marker="o", color=_LINES[i % len(_LINES)], label=task)
        auc.set(title="AUC on the valid days", xlabel="epoch")
        auc.legend(frameon=False)
        for axes in (loss, auc):
            axes.set_xticks(numbers)
            axes.grid(alpha=0.2)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
