"""The features whose distribution moved most between the training and the evaluation days."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_pipeline.drift import FeatureDrift
from tfx_pipeline.plots.bars import Bar, bars
from tfx_pipeline.plots.svg import Plot

_MOST = 10


def drift(found: Sequence[FeatureDrift]) -> list[Plot]:
    """Draws numeric and categorical features apart, as their distances are not the same measure.

    Args:
      found: The features, whose distance may be None where there is none.
    """
    plots = []
    for measure, title in (
        ("Jensen-Shannon divergence", "Numeric"),
        ("L-infinity distance", "Categorical"),
    ):
        known = [
            Bar(f.feature, f.distance, _text(f.distance))
            for f in found
            if f.measure == measure and f.distance is not None
        ]
        moved = sorted(known, key=lambda bar: -bar.length)[:_MOST]
        if moved:
            plots.append(bars(title, moved, colour="#a45ee5", xlabel=measure))
    return plots


def _text(distance: float) -> str:
    return f"{distance:.3f}" if distance >= 0.001 or distance == 0 else "< 0.001"
