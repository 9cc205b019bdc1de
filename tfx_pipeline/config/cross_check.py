"""What must hold between sections."""

from __future__ import annotations

import re
from pathlib import Path

from tfx_pipeline.config.check_beam import check_beam
from tfx_pipeline.config.check_gate import check_gate
from tfx_pipeline.config.check_history import check_history
from tfx_pipeline.config.check_model import check_model
from tfx_pipeline.config.check_names import check_names
from tfx_pipeline.config.check_outcomes import check_outcomes
from tfx_pipeline.config.check_serving import check_serving
from tfx_pipeline.config.check_tasks import check_tasks
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.secrets import check_secrets
from tfx_pipeline.config.section import NAME
from transforms.problems import Problem


def cross_check(config: Config) -> list[Problem]:
    """What is wrong with a config whose sections are right by themselves."""
    problems = [
        *check_names(config),
        *_check_statistics(config),
        *check_history(config),
        *check_outcomes(config),
        *check_model(config),
        *check_tasks(config),
        *check_gate(config),
        *check_serving(config),
        *check_beam(config),
        *check_secrets(config),
    ]
    features = config.features.fields
    for name in config.tasks:
        if not re.fullmatch(NAME, name):
            problems.append(
                Problem(f"tasks.{name}", repr(name), "lower case letters, digits, underscores")
            )
        if name in features:
            problems.append(
                Problem(
                    f"tasks.{name}",
                    "a feature of the same name",
                    "a task that no feature shares its name with: a label as a feature would leak",
                    f"Take `{name}` out of `features`, or rename the task.",
                )
            )
    for name, task in config.tasks.items():
        columns = task.labelling.expression.columns
        if len(columns) == 1 and columns & set(features):
            problems.append(
                Problem(
                    f"tasks.{name}.label",
                    f"an expression of `{min(columns)}` alone, which is a feature",
                    "a label that no feature gives away",
                    f"Take `{min(columns)}` out of `features`.",
                )
            )
    embedding = config.model.embedding
    for key in ("dims", "pinned", "score_weights", "quotas"):
        for name in sorted(set(getattr(embedding, key)) - set(features)):
            problems.append(
                Problem(
                    f"model.embedding.{key}",
                    f"`{name}`, which is no feature",
                    f"columns of `features`: {', '.join(features)}",
                )
            )
    for name in sorted(set(embedding.pinned) & {*embedding.score_weights, *embedding.quotas}):
        problems.append(
            Problem(
                "model.embedding.pinned",
                f"`{name}`, which has a score weight or a quota too",
                "columns without: keys of a pinned column always have rows",
            )
        )
    if config.training.calibration and not config.data.valid and not config.training.start:
        problems.append(
            Problem(
                "training.calibration",
                f"{config.training.calibration}, and no data.valid",
                "days that training does not learn, to fit the calibration to",
                "Name some in `data.valid`.",
            )
        )
    graph = config.features.transform_graph
    if graph is not None and "://" not in str(graph) and not graph.is_dir():
        problems.append(
            Problem(
                "features.transform_graph",
                f"no folder {graph}",
                "a transform graph of an earlier run",
                "They lie in the workdir, under pipeline/Transform/transform_graph.",
            )
        )
    start = config.training.start
    if start is not None and graph is None:
        problems.append(
            Problem(
                "training.start",
                f"{start}, and no features.transform_graph",
                "the transform graph of the same run beside it",
                "Embeddings mean what the graph meant that they were learnt with.",
            )
        )
    elif start is not None and "://" not in str(start) and not Path(f"{start}.index").is_file():
        problems.append(
            Problem(
                "training.start",
                f"no checkpoint {start}",
                "what an earlier run's training ended with",
                "They lie in the workdir, pipeline/Trainer/model_run/<number>/trained.",
            )
        )
    return problems


def _check_statistics(config: Config) -> list[Problem]:
    problems = []
    columns = list(dict.fromkeys([*config.features.categorical, config.scenario.column]))
    seen: dict[tuple[frozenset[str], float | None], int] = {}
    one_day = config.data.train.start == config.data.train.end
    if config.features.statistics and one_day and config.data.state is None:
        problems.append(
            Problem(
                "data.train",
                f"one day, {config.data.train.start}, and features.statistics",
                "two days or more: nothing is known of the days before the first",
                "Or name what an earlier run left, `data.state`.",
            )
        )
    for i, statistic in enumerate(config.features.statistics):
        where = f"features.statistics.{i}"
        for part, names, known, kind in (
            ("by", statistic.by, columns, "categorical features and the scenario's column"),
            ("of", statistic.of, list(config.tasks), "tasks"),
        ):
            for name in sorted(set(names) - set(known)):
                problems.append(
                    Problem(f"{where}.{part}", f"`{name}`", f"{kind}: {', '.join(known)}")
                )
            for name in sorted({name for name in names if names.count(name) > 1}):
                problems.append(Problem(f"{where}.{part}", f"`{name}` twice", "each once"))
        key = (frozenset(statistic.by), statistic.half_life_days)
        first = seen.setdefault(key, i)
        if first < i:
            problems.append(
                Problem(
                    where,
                    f"the columns and the half-life of features.statistics.{first}",
                    "statistics that differ in one of them",
                    "Name the tasks of both in one of them.",
                )
            )
    return problems
