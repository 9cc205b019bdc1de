"""One task's gain against another's, a point a scenario: does one rise as the other falls?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from tfx_pipeline.evaluation import POOL
from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.plots.gain import Gain, gain, quality
from tfx_pipeline.plots.marks import Mark
from tfx_pipeline.plots.svg import INK, Plot, number_axis, plot

MOST_TASKS = 4
"""With more, the first task is plotted against each other one; else each against each."""

_BOTH_GAIN, _BOTH_FALL = "#2f81f7", "#c9731a"


class Point(NamedTuple):
    """One scenario in the plot of two tasks.

    Args:
      scenario: Its name.
      x: The first task's gain.
      y: The second task's.
      judged: Whether the gate judged both cells.
    """

    scenario: str
    x: Gain
    y: Gain
    judged: bool


def seesaw(cells: Sequence[Mapping[str, Any]], scenarios: Mapping[str, Mark]) -> list[Plot]:
    """Draws the pairs of tasks; nothing where no cell was compared.

    Args:
      cells: `metrics` of the verdict.
      scenarios: The scenarios' marks, by name.
    """
    plots = []
    for first, second in pairs(cells):
        found = points(cells, first, second)
        if found:
            plots.append(_pair(first, second, found, scenarios, _axis_names(cells)))
    return plots


def pairs(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The pairs of tasks to plot, among the tasks that were compared."""
    tasks = list(dict.fromkeys(cell["task"] for cell in cells if gain(cell) is not None))
    if len(tasks) > MOST_TASKS:
        return [(tasks[0], other) for other in tasks[1:]]
    return list(itertools.combinations(tasks, 2))


def points(cells: Sequence[Mapping[str, Any]], first: str, second: str) -> list[Point]:
    """A point for each scenario, the pool aside, in which both tasks were compared."""
    by_cell = {(cell["task"], cell["scenario"]): cell for cell in cells}
    found = []
    for scenario in dict.fromkeys(cell["scenario"] for cell in cells):
        both = [by_cell.get((task, scenario)) for task in (first, second)]
        if scenario == POOL or both[0] is None or both[1] is None:
            continue
        x, y = gain(both[0]), gain(both[1])
        if x is not None and y is not None:
            judged = both[0]["status"] == both[1]["status"] == "judged"
            found.append(Point(scenario, x, y, judged))
    return found


def _axis_names(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    metrics = {cell["task"]: quality(cell) for cell in cells}
    return {
        task: f"{task}: {'change' if metric == 'auc' else 'fall'} of {METRIC_NAMES[metric]}"
        for task, metric in metrics.items()
    }


def _limit(gains: Sequence[Gain]) -> float:
    return 1.15 * max(max(abs(g.low), abs(g.high), abs(g.value)) for g in gains) or 1.0


def _pair(
    first: str,
    second: str,
    found: Sequence[Point],
    scenarios: Mapping[str, Mark],
    names: Mapping[str, str],
) -> Plot:
    def draw(axes: Axes) -> None:
        # Those that are too small to judge would dwarf the rest; they may lie outside.
        shown = [p for p in found if p.judged] or found
        right, top = _limit([p.x for p in shown]), _limit([p.y for p in shown])
        axes.set(xlim=(-right, right), ylim=(-top, top))
        axes.set(xlabel=names[first], ylabel=names[second])
        axes.fill([0, right, right, 0], [0, 0, top, top], color=_BOTH_GAIN, alpha=0.08, lw=0)
        axes.fill([0, -right, -right, 0], [0, 0, -top, -top], color=_BOTH_FALL, alpha=0.08, lw=0)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.axvline(0, color=INK, linewidth=0.8)
        for text, x, y in (
            ("both gain", 0.98, 0.98),
            ("both fall", 0.02, 0.02),
            (f"{second} gains,\n{first} falls", 0.02, 0.98),
            (f"{first} gains,\n{second} falls", 0.98, 0.02),
        ):
            axes.text(
                *(x, y, text),
                transform=axes.transAxes,
                ha="right" if x > 0.5 else "left",
                va="top" if y > 0.5 else "bottom",
                fontsize=9,
                alpha=0.65,
            )
        for p in found:
            mark = scenarios[p.scenario]
            axes.errorbar(
                *(p.x.value, p.y.value),
                xerr=[[p.x.value - p.x.low], [p.x.high - p.x.value]],
                yerr=[[p.y.value - p.y.low], [p.y.high - p.y.value]],
                fmt=mark.marker,
                color=mark.colour,
                markersize=6,
                elinewidth=1,
                alpha=1 if p.judged else 0.4,
                markerfacecolor=mark.colour if p.judged else "none",
                zorder=4 if p.judged else 3,
            )
        for axis in (axes.xaxis, axes.yaxis):
            number_axis(axis, "+")

    told = "; ".join(f"{p.scenario} {p.x.value:+.4f}, {p.y.value:+.4f}" for p in found)
    return plot(f"{first} against {second}", draw, about=told, height=300)
