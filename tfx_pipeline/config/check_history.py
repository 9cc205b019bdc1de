"""What must hold between `features.history` and other sections."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.job import Config
from transforms.problems import Problem


def check_history(config: Config) -> Iterator[Problem]:
    """What is wrong with the histories that a config asks for."""
    history = config.features.history
    if history is None:
        return
    for key, names, known, kind in (
        ("items", history.items, config.features.categorical, "columns of features.categorical"),
        ("labels", history.labels, list(config.tasks), "tasks"),
    ):
        where = f"features.history.{key}"
        for name in sorted(set(names) - set(known)):
            yield Problem(where, f"`{name}`", f"{kind}: {', '.join(known)}")
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(where, f"`{name}` twice", "each once")
    for name in sorted({name for name in history.properties if history.properties.count(name) > 1}):
        yield Problem("features.history.properties", f"`{name}` twice", "each once")
    if not history.properties and not history.labels:
        yield Problem(
            "features.history",
            "neither properties nor labels",
            "at least one: what enters the gates of model.behaviour_sequence",
        )
    scenario = [config.scenario.column] if "scenario" in history.properties else []
    if "age" in history.properties and "age" in {*history.items, *history.labels, *scenario}:
        yield Problem(
            "features.history.properties",
            "`age` beside a column or a task of that name",
            "names that differ: all become `history:NAME`",
            "Rename the column or the task, or leave `age` out of the properties.",
        )
    if config.data.user in history.items:
        yield Problem(
            "features.history.items",
            f"`{config.data.user}`, which is data.user",
            "columns that differ among the behaviours of one user",
        )
