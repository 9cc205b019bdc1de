"""What was predicted against what happened, by bins of the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from tfx_pipeline.evaluation import POOL
from tfx_pipeline.plots.marks import Mark
from tfx_pipeline.plots.svg import INK, Plot, number_axis, plot


def calibration(
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
            if name in of_task and "calibration" in of_task[name]
            if name == POOL or name in judged[task]
        }
        if shown:
            plots.append(_task(task, shown, scenarios))
    return plots


def _task(task: str, shown: Mapping[str, Any], scenarios: Mapping[str, Mark]) -> Plot:
    every = [point for curves in shown.values() for point in curves["calibration"]]
    highest = 1.08 * max(max(point["predicted"], point["observed"]) for point in every)

    def draw(axes: Axes) -> None:
        axes.plot([0, highest], [0, highest], color=INK, alpha=0.4, linestyle="--", linewidth=1)
        for name, curves in shown.items():
            mark, pool = scenarios[name], name == POOL
            if pool and "baseline" in curves:
                _line(axes, curves["baseline"]["calibration"], color=INK, alpha=0.5, linestyle=":")
            _line(
                axes,
                curves["calibration"],
                color=mark.colour,
                marker=mark.marker,
                markersize=4.5 if pool else 3.5,
                linewidth=1.6 if pool else 1,
                zorder=4 if pool else 3,
            )
            axes.vlines(
                [point["predicted"] for point in curves["calibration"]],
                [point["low"] for point in curves["calibration"]],
                [point["high"] for point in curves["calibration"]],
                color=mark.colour,
                alpha=0.8 if pool else 0.45,
                linewidth=1,
            )
        axes.set(xlim=(0, highest), ylim=(0, highest), xlabel="predicted", ylabel="observed")
        for axis in (axes.xaxis, axes.yaxis):
            number_axis(axis, "%")
        axes.grid()

    about = f"predicted and observed share of positives, in {_names(shown)}"
    return plot(task, draw, about=about, height=290)


def _line(axes: Axes, points: Sequence[Mapping[str, Any]], **style: Any) -> None:
    axes.plot([p["predicted"] for p in points], [p["observed"] for p in points], **style)


def _names(shown: Mapping[str, Any]) -> str:
    return ", ".join("the pool" if name == POOL else name for name in shown)
