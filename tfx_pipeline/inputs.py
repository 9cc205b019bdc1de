"""What a config says about its logs, in the terms of `transforms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfx_pipeline.config import Config
from transforms.days import Splits
from transforms.history import History
from transforms.log_files import find_files, find_log_files, fingerprint
from transforms.log_schema import LogSchema
from transforms.problems import InputError, Problem
from transforms.row_reader import LogFile


def log_schema(config: Config) -> LogSchema:
    """Which columns the config needs.

    Raises:
      InputError: if their uses contradict each other.
    """
    data = config.data
    schema = LogSchema(
        categorical=tuple(config.features.categorical),
        numeric=tuple(config.features.numeric),
        scenario=config.scenario.column,
        scenarios=tuple(config.scenario.names),
        user=data.user,
        event_key=tuple(data.event_key),
        event_time=data.event_time,
        day_column=data.day.column,
        day_format=data.day.format,
        labels={name: task.labelling for name, task in config.tasks.items()},
        true_probabilities={
            name: task.true_probability
            for name, task in config.tasks.items()
            if task.true_probability is not None
        },
        table_keys={name: table.key for name, table in data.tables.items()},
        statistics=config.features.past_days,
        history=history(config),
        request=request_columns(config),
    )
    problems = schema.problems()
    if problems:
        raise InputError(problems)
    return schema


def request_columns(config: Config) -> tuple[str, ...]:
    """Columns that identify a request; none where no task ranks within requests."""
    ranks = any(task.kind == "ranking" for task in config.tasks.values())
    return tuple(config.data.request) if ranks else ()


def history(config: Config) -> History | None:
    """What the config keeps of users' behaviours."""
    settings = config.features.history
    if settings is None:
        return None
    return History(
        user=config.data.user,
        time=config.data.event_time,
        items=tuple(settings.items),
        scenario=config.scenario.column if "scenario" in settings.properties else None,
        labels=tuple(settings.labels),
        age="age" in settings.properties,
        length=settings.length,
    )


def splits(config: Config) -> Splits:
    """The config's days."""
    ranges = {"train": config.data.train, "valid": config.data.valid, "eval": config.data.eval}
    return Splits({name: (days.start, days.end) for name, days in ranges.items()})


@dataclass(frozen=True)
class Inputs:
    """The files that a config reads.

    Args:
      files: Files of the log.
      tables: Files of every joined table.
      problems: What is missing.
    """

    files: tuple[LogFile, ...]
    tables: Mapping[str, list[str]]
    problems: tuple[Problem, ...]

    def complete(self) -> Inputs:
        """The same.

        Raises:
          InputError: naming every file, day and glob that is missing.
        """
        if self.problems:
            raise InputError(self.problems)
        return self


def find_inputs(config: Config) -> Inputs:
    """Looks for the files of the log and of every joined table."""
    data = config.data
    root = str(data.path)
    if set("*?[") & set(root):
        what = Problem(
            "data.path", root, "a folder without * ? [ in its name", "Patterns go into data.logs."
        )
        return Inputs((), {}, (what,))
    if "://" not in root and not data.path.is_dir():
        where = Problem(
            "data.path",
            f"no folder {root}",
            "the folder of the logs",
            "Say where with --set data.path=FOLDER, or draw logs with `equipoise simulate`.",
        )
        return Inputs((), {}, (where,))
    files, problems = find_log_files(root, data.logs, data.format, splits(config), data.day.column)
    tables = {}
    for name, table in data.tables.items():
        tables[name], missing = find_files(root, table.files, f"data.tables.{name}.files")
        problems += missing
    return Inputs(tuple(files), tables, tuple(problems))


def fingerprint_inputs(config: Config) -> str:
    """Changes when any file that the config reads changes, appears or goes.

    Raises:
      InputError: naming every file, day and glob that is missing.
    """
    inputs = find_inputs(config).complete()
    paths = [file.path for file in inputs.files]
    for table_paths in inputs.tables.values():
        paths += table_paths
    return fingerprint(paths, str(config.data.path))
