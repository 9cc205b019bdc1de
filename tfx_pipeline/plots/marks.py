"""One colour and one shape for a task, and one for a scenario, in every plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfx_pipeline.evaluation import POOL
from tfx_pipeline.plots.svg import INK

# Mid-tones, with a contrast of about 3 to white and to near-black.
_TASKS = "#2f81f7 #c9731a #2b9a49 #a45ee5 #d1495b #0d9595 #a87b0b #7a8794".split()
_SCENARIOS = "#0d9595 #d1495b #8a6fdf #a87b0b #2f81f7 #2b9a49 #c9731a #7a8794".split()
_MARKERS = "osD^vPX*"
_GLYPHS = "●■◆▲▼✚✖★"


class Mark(NamedTuple):
    """How something is drawn, and how the page's legend shows it.

    Args:
      label: What it is.
      colour: As CSS writes it.
      marker: Its shape, Matplotlib's code.
      glyph: Its shape, a character.
    """

    label: str
    colour: str
    marker: str
    glyph: str


def task_marks(tasks: Sequence[str]) -> dict[str, Mark]:
    """Marks of the tasks, by name."""
    return {name: _mark(name, i, _TASKS) for i, name in enumerate(tasks)}


def scenario_marks(scenarios: Sequence[str]) -> dict[str, Mark]:
    """Marks of the scenarios, by name; the pool, where it is among them, comes first, in ink."""
    named = [name for name in scenarios if name != POOL]
    pool = {POOL: Mark("all", INK, "o", "●")} if POOL in scenarios else {}
    return pool | {name: _mark(name, i, _SCENARIOS) for i, name in enumerate(named)}


def _mark(label: str, i: int, colours: Sequence[str]) -> Mark:
    # The ninth has the first one's colour in another shape.
    shape = (i + i // len(colours)) % len(_MARKERS)
    return Mark(label, colours[i % len(colours)], _MARKERS[shape], _GLYPHS[shape])
