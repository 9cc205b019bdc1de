"""Horizontal bars with their values written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from tfx_pipeline.plots.svg import Plot, number_axis, plot, text_width

_LINE = 19.0


class Bar(NamedTuple):
    """One bar.

    Args:
      label: What it is of.
      length: Its length.
      text: What stands at its end.
    """

    label: str
    length: float
    text: str


def bars(title: str, found: Sequence[Bar], *, colour: str, xlabel: str) -> Plot:
    """Draws bars, the first on top.

    Args:
      title: Of the plot.
      found: At least one.
      colour: Of all.
      xlabel: What lengths are.
    """

    def draw(axes: Axes) -> None:
        places = range(len(found))
        axes.barh(places, [bar.length for bar in found], color=colour, alpha=0.75, height=0.66)
        longest = max(bar.length for bar in found) or 1.0
        for place, bar in zip(places, found, strict=True):
            axes.text(bar.length + 0.02 * longest, place, bar.text, va="center", fontsize=9)
        axes.set_yticks(places, [bar.label for bar in found])
        axes.tick_params("y", length=0)
        axes.set(xlim=(0, 1.25 * longest), ylim=(len(found) - 0.5, -0.5), xlabel=xlabel)
        number_axis(axes.xaxis)
        axes.spines["left"].set_visible(False)

    about = "; ".join(f"{bar.label} {bar.text}" for bar in found)
    left = text_width(bar.label for bar in found) + 10
    return plot(title, draw, about=about, height=_LINE * len(found) + 52, left=left)
