"""Training loss, and each task's quality on the valid days, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tfx_pipeline.plots.marks import Mark
from tfx_pipeline.plots.svg import INK, Plot, plot


def training_curves(
    epochs: Sequence[Mapping[str, Any]], best: int, tasks: Mapping[str, Mark]
) -> list[Plot]:
    """Draws a training; without valid days, its loss alone.

    Args:
      epochs: A `keras_models.training.Epoch` each, as plain values.
      best: Number of the epoch whose weights were kept.
      tasks: The tasks' marks, by name.
    """
    numbers = [epoch["epoch"] for epoch in epochs]

    def over_epochs(axes: Axes) -> None:
        axes.axvline(best, color=INK, alpha=0.3, linestyle="--", linewidth=1)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.grid()

    def loss(axes: Axes) -> None:
        axes.plot(numbers, [epoch["loss"] for epoch in epochs], marker="o", color=INK)
        over_epochs(axes)

    def quality(axes: Axes) -> None:
        for name, mark in tasks.items():
            values = [epoch["valid_quality"][name] for epoch in epochs]
            axes.plot(numbers, values, marker=mark.marker, color=mark.colour)
        over_epochs(axes)

    measured = any(epoch["valid_quality"] for epoch in epochs)
    about = f"by epoch, 1 to {numbers[-1]}; epoch {best} was kept"
    return [
        plot("Training loss", loss, about=about),
        *([plot("Quality on the valid days", quality, about=about)] if measured else []),
    ]
