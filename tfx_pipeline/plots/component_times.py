"""How long each component took."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_pipeline.plots.bars import Bar, bars
from tfx_pipeline.plots.svg import Plot
from tfx_pipeline.run_record import ComponentRun


def component_times(components: Sequence[ComponentRun]) -> list[Plot]:
    """Draws the components in the order in which they ran; nothing where none is known."""
    found = [
        Bar(c.name, c.seconds, f"{c.seconds:.1f} s" + (", reused" if c.cached else ""))
        for c in components
    ]
    return (
        [bars("Seconds by component", found, colour="#0d9595", xlabel="seconds")] if found else []
    )
