"""Positives found against false alarms raised, over all thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from tfx_pipeline.evaluation import POOL
from tfx_pipeline.plots.marks import Mark
from tfx_pipeline.plots.svg import INK, Plot, number_axis, plot

_DASHES = ["-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2))]
"""Of the scenarios in turn, as lines have no room for shapes."""


def roc(
    curves: Mapping[str, Mapping[str, Any]],
    judged: Mapping[str, set[str]],
    scenarios: Mapping[str, Mark],
) -> list[Plot]:
    """Draws a plot a task: the pool, and the scenarios that the gate judged.

    Args:
      curves: `curves.json` of the Gate.
      judged: The scenarios that it judged, by task.
      scenarios: The scenarios' marks, by name.
    """
    plots = []
    for task, of_task in curves.items():
        shown = {
            name: of_task[name]
            for name in scenarios
            if name in of_task and (name == POOL or name in judged[task])
        }
        if shown:
            plots.append(_task(task, shown, scenarios))
    return plots


def _task(task: str, shown: Mapping[str, Any], scenarios: Mapping[str, Mark]) -> Plot:
    places = {name: i for i, name in enumerate(scenarios)}

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linestyle="--", linewidth=1)
        for name, curves in shown.items():
            pool = name == POOL
            if pool and "baseline" in curves:
                _line(axes, curves["baseline"]["roc"], color=INK, alpha=0.5, linestyle=":")
            _line(
                axes,
                curves["roc"],
                color=scenarios[name].colour,
                linestyle="-" if pool else _DASHES[places[name] % len(_DASHES)],
                linewidth=1.8 if pool else 1.1,
                zorder=4 if pool else 3,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set(xlabel="negatives ranked above", ylabel="positives ranked above")
        for axis in (axes.xaxis, axes.yaxis):
            number_axis(axis, "%")
        axes.grid()

    named = ", ".join("the pool" if name == POOL else name for name in shown)
    return plot(task, draw, about=f"ROC curves of {named}", height=290)


def _line(axes: Axes, curve: Mapping[str, Any], **style: Any) -> None:
    axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], **style)
