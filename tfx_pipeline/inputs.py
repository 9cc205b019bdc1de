"""What a config says about its logs, in the terms of `transforms`."""

from __future__ import annotations

from tfx_pipeline.config import Config
from transforms.days import Splits
from transforms.log_files import find_files, find_log_files, fingerprint
from transforms.log_rows import LogFile
from transforms.log_schema import LogSchema
from transforms.problems import InputError, Problem


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
        labels={name: task.label for name, task in config.tasks.items()},
        true_probabilities={
            name: task.true_probability
            for name, task in config.tasks.items()
            if task.true_probability is not None
        },
        table_keys={name: table.key for name, table in data.tables.items()},
    )
    problems = schema.problems()
    if problems:
        raise InputError(problems)
    return schema


def splits(config: Config) -> Splits:
    """The config's days."""
    ranges = {"train": config.data.train, "valid": config.data.valid, "eval": config.data.eval}
    return Splits({name: (days.start, days.end) for name, days in ranges.items()})


def find_inputs(config: Config) -> tuple[list[LogFile], dict[str, list[str]]]:
    """Files of the log, and of every joined table.

    Raises:
      InputError: naming every file, day and glob that is missing.
    """
    data = config.data
    problems: list[Problem] = []
    files: list[LogFile] = []
    tables: dict[str, list[str]] = {}
    try:
        files = find_log_files(
            str(data.path), data.logs, data.format, splits(config), data.day.column
        )
    except InputError as error:
        problems += error.problems
    for name, table in data.tables.items():
        try:
            tables[name] = find_files(str(data.path), table.files, f"data.tables.{name}.files")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return files, tables


def fingerprint_inputs(config: Config) -> str:
    """Changes when any file that the config reads changes, appears or goes.

    Raises:
      InputError: naming every file, day and glob that is missing.
    """
    files, tables = find_inputs(config)
    paths = [file.path for file in files]
    return fingerprint(
        [*paths, *(p for group in tables.values() for p in group)], str(config.data.path)
    )
