"""Plots of the report, as SVG that takes its colours from the page."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

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

    def draw(loss: Axes, auc: Axes) -> None:
        loss.plot(numbers, [epoch["loss"] for epoch in epochs], marker="o", color=_LINES[0])
        loss.set(title="Training loss", xlabel="epoch")
        for i, task in enumerate(tasks):
            values = [epoch["valid_quality"][task] for epoch in epochs]
            auc.plot(numbers, values, marker="o", color=_LINES[i % len(_LINES)], label=task)
        auc.set(title="Quality on the valid days", xlabel="epoch")
        auc.legend(frameon=False)

    return _two_plots(numbers, draw)


def table_life(epochs: list[dict[str, Any]]) -> str:
    """Rows of the embedding tables that came, went and stayed, and their hit rate, by epoch.

    Args:
      epochs: A `keras_models.training.Epoch` each, as plain values.

    Returns:
      An `<svg>` element.
    """
    numbers = [epoch["epoch"] for epoch in epochs]
    names = ["live_rows", "admissions", "evictions", "expirations"]

    def draw(rows: Axes, hits: Axes) -> None:
        for i, name in enumerate(names):
            values = [epoch["table"][name] for epoch in epochs]
            if any(values):
                label = name.replace("_", " ")
                rows.plot(numbers, values, marker="o", color=_LINES[i], label=label)
        rows.set(title="Embedding rows", xlabel="epoch", ylim=(0, None))
        rows.yaxis.set_major_formatter(EngFormatter(sep=""))
        rows.legend(frameon=False)
        values = [epoch["table"]["hit_rate"] for epoch in epochs]
        hits.plot(numbers, values, marker="o", color=_LINES[0])
        hits.set(title="Keys read that had a row of their own", xlabel="epoch", ylim=(None, 1))
        hits.yaxis.set_major_formatter(PercentFormatter(1))

    return _two_plots(numbers, draw)


def _two_plots(numbers: list[int], draw: Callable[[Axes, Axes], None]) -> str:
    """Two plots side by side over epochs, as an `<svg>` element."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        both = figure.subplots(1, 2)
        draw(*both)
        for axes in both:
            axes.set_xticks(numbers)
            axes.grid(alpha=0.2)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
