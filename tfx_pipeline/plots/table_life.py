"""Rows of the embedding tables that came, went and stayed, and their hit rate, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from tfx_pipeline.plots.marks import task_marks
from tfx_pipeline.plots.svg import INK, Plot, number_axis, plot


def table_life(epochs: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Draws the life of the tables.

    Args:
      epochs: A `keras_models.training.Epoch` each, as plain values.
    """
    numbers = [epoch["epoch"] for epoch in epochs]
    counts = {
        name.replace("_", " "): values
        for name in ("live_rows", "admissions", "evictions", "expirations")
        if any(values := [epoch["table"][name] for epoch in epochs])
    }

    def over_epochs(axes: Axes) -> None:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.grid()

    def rows(axes: Axes) -> None:
        for mark in task_marks(list(counts)).values():
            values = counts[mark.label]
            axes.plot(numbers, values, marker=mark.marker, color=mark.colour, label=mark.label)
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        if counts:
            axes.legend(frameon=False, fontsize=9)
        over_epochs(axes)

    def hits(axes: Axes) -> None:
        axes.plot(
            numbers, [e["table"]["hit_rate"] for e in epochs], marker="o", color=INK, clip_on=False
        )
        axes.set_ylim(None, 1)
        number_axis(axes.yaxis, "%")
        over_epochs(axes)

    about = f"by epoch, 1 to {numbers[-1]}"
    return [
        plot("Embedding rows", rows, about=about),
        plot("Keys read that had a row of their own", hits, about=about),
    ]
