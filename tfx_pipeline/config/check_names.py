"""Which names of columns, tasks and statistics cannot be told apart further on.

What TensorFlow makes of the names of features, where it allows fewer signs, is unique by
construction; what is refused here is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.job import Config
from transforms.problems import Problem

_EXAMPLES = "examples"
"""The input of the served model. Where an example has a feature of that name, TFMA feeds the model
with the feature, and not with the example."""


def check_names(config: Config) -> Iterator[Problem]:
    """Names that the examples, the transform graph or the served model cannot have."""
    features = config.features
    columns = [("features.categorical", name) for name in features.categorical]
    columns += [("features.numeric", name) for name in features.numeric]
    names = [name for _, name in columns]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("features", f"`{name}` twice", "each column once")
    columns += [("scenario.column", config.scenario.column), ("data.user", config.data.user)]
    for where, name in columns:
        if not name or name.endswith("/"):
            yield Problem(
                where,
                f"`{name}`",
                "a name that does not end in `/`, which TensorFlow takes for that of a scope"
                if name
                else "the name of a column",
                "Rename the column in the logs." if name else "",
            )
    tasks = [(f"tasks.{name}", name) for name in config.tasks]
    for where, name in (*columns, *tasks):
        if name == _EXAMPLES:
            yield Problem(
                where,
                f"`{name}`, which is the input of the served model",
                "another name",
                "Rename the task." if where.startswith("tasks.") else "Rename it in the logs.",
            )
    yield from _check_statistics(config)


def _check_statistics(config: Config) -> Iterator[Problem]:
    """Statistics that differ and have one name, as by `a` and `b`, and by a column `a+b`."""
    named: dict[str, int] = {}
    statistics = config.features.past_days
    for i, statistic in enumerate(statistics):
        first = named.setdefault(statistic.name, i)
        one = statistics[first]
        same = set(one.by) == set(statistic.by) and one.half_life_days == statistic.half_life_days
        if first < i and not same:
            yield Problem(
                f"features.statistics.{i}",
                f"the name `{statistic.name}`, which features.statistics.{first} has too",
                "statistics whose names differ: columns joined by `+`, then `@` and the half-life "
                "in six digits",
                "Rename a column in the logs, or take a half-life that differs by more.",
            )
