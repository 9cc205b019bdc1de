"""Mean gates as heat maps: scenarios down, what a gate is over across."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from tfx_pipeline.plots.svg import WIDTH, Plot, plot, text_width

_MORE, _LESS = "#2f81f7", "#c9731a"
_CELL = 32.0
_LINE = 19.0
_MOST_COLUMNS = 14
"""A gate over more stands on its side: pages are long and not wide."""


def gates(found: Mapping[str, Any]) -> list[Plot]:
    """Draws each gate of two axes, and each of three as one plot for each entry of the second.

    Scenarios without rows are left out, and so are gates of more axes.

    Args:
      found: `gates.json` of the Trainer, see `tfx_pipeline.mean_gates`.
    """
    rows = [i for i, n in enumerate(found["rows"]) if n]
    scenarios = [found["scenarios"][i] for i in rows]
    plots = []
    for name, gate in found["gates"].items():
        mean = np.asarray([gate["mean"][i] for i in rows])
        title = name.replace("/", " · ").replace("_", " ")
        columns = (gate["axes"][-1], gate["labels"][gate["axes"][-1]])
        # Plots of one gate share a scale: how deep a colour is means the same in all of them.
        shares = is_share(mean)
        reach = float(mean.max() if shares else max(0.1, np.abs(mean - 1).max()))
        if mean.ndim == 2:
            plots.append(_heat_map(title, mean, ("scenario", scenarios), columns, shares, reach))
        elif mean.ndim == 3:
            for i, label in enumerate(gate["labels"][gate["axes"][1]]):
                of_label, down = f"{title} · {label}", ("scenario", scenarios)
                plots.append(_heat_map(of_label, mean[:, i], down, columns, shares, reach))
    return plots


def is_share(mean: np.ndarray) -> bool:
    """Whether a gate splits a whole, as a softmax does; else its numbers are factors around 1."""
    return bool(mean.shape[-1] > 1 and np.allclose(mean.sum(axis=-1), 1, atol=1e-3))


def _heat_map(
    title: str,
    values: np.ndarray,
    rows: tuple[str, list[str]],
    columns: tuple[str, list[str]],
    shares: bool,
    reach: float,
) -> Plot:
    if len(columns[1]) > max(_MOST_COLUMNS, len(rows[1])):
        values, rows, columns = values.T, columns, rows

    left = text_width(rows[1]) + 26
    width = max(WIDTH, left + _CELL * len(columns[1]) + 10)
    slanted = text_width(columns[1]) > (width - left) / len(columns[1])
    bottom = 0.65 * text_width(columns[1]) + 30 if slanted else 38

    def draw(axes: Axes) -> None:
        cells, colours = [], []
        for (row, column), value in np.ndenumerate(values):
            depth = (value if shares else abs(value - 1)) / reach
            cells.append(Rectangle((column, row), 1, 1))
            colours.append(to_rgba(_MORE if shares or value >= 1 else _LESS, 0.04 + 0.6 * depth))
            text = f"{value:.2f}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9)
        axes.add_collection(PatchCollection(cells, facecolors=colours, lw=0), autolim=False)
        axes.set(xlim=(0, len(columns[1])), ylim=(len(rows[1]), 0))
        axes.set(xlabel=columns[0], ylabel=rows[0])
        axes.set_xticks(np.arange(len(columns[1])) + 0.5, columns[1])
        axes.set_yticks(np.arange(len(rows[1])) + 0.5, rows[1])
        axes.tick_params(length=0)
        if slanted:
            axes.tick_params("x", labelrotation=40)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.spines[:].set_visible(False)

    about = "; ".join(
        f"{label} " + ", ".join(f"{value:.2f}" for value in row)
        for label, row in zip(rows[1], values, strict=True)
    )
    return plot(
        title,
        draw,
        about=f"{', '.join(columns[1])}: {about}",
        width=width,
        height=_LINE * len(rows[1]) + bottom + 10,
        left=left,
        bottom=bottom,
    )
