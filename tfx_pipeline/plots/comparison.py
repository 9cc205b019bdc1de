"""How much more other runs have than the first, a point and an interval for each cell."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from tfx_pipeline.compare import Figure
from tfx_pipeline.evaluation import POOL
from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.plots.marks import Mark
from tfx_pipeline.plots.svg import INK, Plot, number_axis, plot, text_width

_LINE = 20.0
"""Height of a run's line in a cell, in CSS pixels."""


def comparison(task: str, figures: Sequence[Figure], runs: Sequence[Mark]) -> Plot:
    """Draws one task's differences in one metric.

    Args:
      task: Its name.
      figures: One a scenario, the pool first.
      runs: Marks of the runs but the first.
    """
    metric = METRIC_NAMES[figures[0].metric]
    labels = ["all" if figure.scenario == POOL else figure.scenario for figure in figures]
    step = len(runs) + 0.8

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
        for i, figure in enumerate(figures):
            for j, (difference, mark) in enumerate(zip(figure.differences, runs, strict=True)):
                if difference is None:
                    continue
                at = i * step + j
                ends = [difference.low, difference.high]
                clear = difference.clear
                axes.plot(ends, [at, at], color=mark.colour, linewidth=2, alpha=1 if clear else 0.5)
                axes.plot(
                    [difference.value],
                    [at],
                    mark.marker,
                    color=mark.colour,
                    markersize=6,
                    markerfacecolor=mark.colour if clear else "none",
                )
        middle = (len(runs) - 1) / 2
        axes.set_yticks([i * step + middle for i in range(len(figures))], labels)
        axes.set_ylim(len(figures) * step - 0.8, -1)
        axes.set_xlabel(f"change of the {metric}")
        axes.grid(axis="x")
        number_axis(axes.xaxis, "+")

    return plot(
        task,
        draw,
        about=f"change of the {metric} against the first run, by scenario, with 95% intervals",
        height=60 + _LINE * step * len(figures),
        left=14 + text_width(labels),
    )
