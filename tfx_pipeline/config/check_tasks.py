"""Which tasks, heads and losses make sense together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfx_pipeline.config.head import FusionConfig, Head
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.loss import LossConfig
from tfx_pipeline.config.task import TaskConfig
from transforms.problems import Problem


def check_tasks(config: Config) -> Iterator[Problem]:
    """What of the tasks does not fit the other sections, each with the reason."""
    yield from _check_after(config.tasks)
    ranking = [name for name, task in config.tasks.items() if task.kind == "ranking"]
    if ranking and not config.data.request:
        yield Problem(
            "data.request",
            f"nothing, and the ranking task `{ranking[0]}`",
            "the columns that identify a request: a ranking task compares rows of one request",
        )
    for column in [c for c in config.data.request if c not in config.data.event_key]:
        yield Problem(
            "data.request",
            f"`{column}`, which is not in data.event_key",
            "columns of data.event_key: rows that could be duplicates are kept with their request",
            f"Put `{column}` into data.event_key.",
        )
    for where, names in _readers_of_labels(config):
        for name in dict.fromkeys(names):
            task = config.tasks.get(name)
            if task is not None and (task.kind != "binary" or task.space is not None):
                what = f"of kind {task.kind}" if task.kind != "binary" else "with a `space`"
                yield Problem(
                    where,
                    f"`{name}`, a task {what}",
                    "binary tasks that every row has a label of",
                )


def check_head(
    tasks: Mapping[str, TaskConfig],
    numeric: list[str],
    head: Head,
    fusion: FusionConfig | None,
    loss: LossConfig,
) -> Iterator[Problem]:
    """What of `model.head`, `model.fusion` and `model.loss` does not fit the tasks.

    Args:
      tasks: The tasks.
      numeric: The numeric features.
      head: The head.
      fusion: The fused score, where there is one.
      loss: The losses.
    """
    after = [name for name, task in tasks.items() if task.after is not None]
    if head == "esmm" and not after:
        yield Problem(
            "model.head",
            "`esmm`, and no task that comes after another",
            "a chain of tasks, such as a conversion after a click",
            "Name in `tasks.NAME.after` the task that comes before, or take `independent`.",
        )
    if head != "esmm":
        for name in after:
            yield Problem(
                f"tasks.{name}.after",
                f"`{tasks[name].after}`, and model.head is `{head}`",
                "a head that reads it",
                "Set model.head to `esmm`, or leave `after` out.",
            )
    # Else a served name would stand for two things.
    given = {name: f"{name}_given_{tasks[name].after}" for name in after if head == "esmm"}
    for name in sorted({*given.values(), *(["score"] if fusion else [])} & set(tasks)):
        yield Problem(f"tasks.{name}", "the name of another output of the model", "another name")
    for name, output in given.items():
        same = [other for other, its in given.items() if its == output]
        if same[0] != name:
            yield Problem(
                f"tasks.{name}",
                f"`{output}` as the name of an output, which that of `{same[0]}` is too",
                "another name",
            )
    if fusion is not None:
        scored = [n for n, task in tasks.items() if task.kind in ("binary", "ranking")]
        for name in sorted(set(fusion.weights) - set(scored)):
            yield Problem(
                "model.fusion.weights",
                f"`{name}`",
                f"tasks with a probability: {', '.join(scored) or 'there are none'}",
            )
        if fusion.length is not None and fusion.length.column not in numeric:
            yield Problem(
                "model.fusion.length.column",
                f"`{fusion.length.column}`",
                f"a column of features.numeric: {', '.join(numeric) or 'there are none'}",
            )
    binary = [name for name, task in tasks.items() if task.kind == "binary"]
    for i, bound in enumerate(loss.kl_bounds):
        for name in sorted({*bound.product, bound.equals} - set(binary)):
            yield Problem(
                f"model.loss.kl_bounds.{i}", f"`{name}`", f"binary tasks: {', '.join(binary)}"
            )


def _check_after(tasks: Mapping[str, TaskConfig]) -> Iterator[Problem]:
    for name, task in tasks.items():
        if task.after is None:
            continue
        where = f"tasks.{name}.after"
        if task.after not in tasks:
            yield Problem(where, f"`{task.after}`", f"a task: {', '.join(tasks)}")
            continue
        for one in (name, task.after):
            if tasks[one].kind != "binary":
                yield Problem(
                    where,
                    f"`{one}`, a task of kind {tasks[one].kind}",
                    "two binary tasks: their probabilities are multiplied",
                )
        if task.space is not None:
            yield Problem(
                f"tasks.{name}.space",
                f"a sample space, and `after: {task.after}`",
                "one of them: a task after another is learned over all rows",
                "Leave `space` out; its label is false where the other's is.",
            )
        seen: list[str] = []
        at: str | None = name
        while at is not None and at in tasks and at not in seen:
            seen.append(at)
            at = tasks[at].after
        # Said once, by the first of the circle.
        if at == name and name == min(seen, key=list(tasks).index):
            yield Problem(
                where, f"a circle: {', '.join([*seen, name])}", "a chain with a beginning"
            )


def _readers_of_labels(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Features made of labels, each with the tasks that it reads."""
    for i, statistic in enumerate(config.features.statistics):
        yield f"features.statistics.{i}.of", statistic.of
    if config.features.history is not None:
        yield "features.history.labels", config.features.history.labels
