"""What must hold between `data.outcomes` and other keys."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from tfx_pipeline.config.job import Config
from transforms.problems import Problem


def check_outcomes(config: Config) -> Iterator[Problem]:
    """What is wrong with the outcomes log that a config names."""
    data = config.data
    if data.outcomes is None:
        if data.attribution_window is not None:
            yield Problem(
                "data.attribution_window",
                "a window, and no data.outcomes",
                "outcomes that arrive in a log of their own",
                "Name that log in data.outcomes, or leave the window out.",
            )
        return
    if data.attribution_window in (None, datetime.timedelta()):
        yield Problem(
            "data.attribution_window",
            "0s" if data.attribution_window is not None else "nothing",
            "for how long after an impression the outcomes of data.outcomes count, such as 3d",
        )
    if data.clock is None:
        yield Problem(
            "data.clock.unit",
            "nothing",
            "the unit of the event time, in which data.attribution_window is measured",
        )
    missing = [p for p in ("{YYYY}", "{MM}", "{DD}") if p not in data.outcomes.files]
    if missing:
        yield Problem(
            "data.outcomes.files",
            f"{data.outcomes.files!r}, without {', '.join(missing)}",
            "the day on which outcomes arrived, which tells when an attribution window is closed",
        )
    read = {
        column
        for task in config.tasks.values()
        for expression in task.labelling.expressions
        for column in expression.columns
    }
    for name in data.outcomes.columns:
        if name not in read:
            yield Problem(
                f"data.outcomes.columns.{name}",
                "a column that no task reads",
                f"columns of tasks.NAME.label: {', '.join(sorted(read))}",
                "Read it in a label, or leave it out.",
            )
