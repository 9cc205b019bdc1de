"""How a job goes on from day to day."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tfx_pipeline.config.section import Section


class DailyConfig(Section):
    """How a job goes on from day to day, with `equipoise run --day` and `equipoise backfill`.

    See docs/how-to/day-after-day.md.
    """

    window: int = Field(
        7,
        ge=2,
        description="Days that a training from cold weights takes, up to the day of the run. The "
        "last of them stops it early, and is then trained on as any later day is.",
    )
    epochs: int = Field(1, ge=1, description="Passes over a day that is trained on.")
    parent: Literal["blessed", "newest"] = Field(
        "blessed",
        description="Whose weights a day goes on from: those of the last day that the gate "
        "blessed, or of the last day whatever the gate said.",
    )
    full: bool = Field(
        False,
        description="Train on the whole window from cold weights, with a transform graph that is "
        "fitted on it: the start of a new lineage. So is a day that has no parent.",
    )
