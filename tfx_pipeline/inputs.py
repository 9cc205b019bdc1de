"""What a config says about its logs, in the terms of `transforms`."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.config import Config
from transforms.arrival import missing_markers, unsettled
from transforms.clock import Clock
from transforms.days import Splits
from transforms.examples import DAY, REQUEST
from transforms.history import History
from transforms.log_files import (
    find_files,
    find_log_files,
    find_outcome_files,
    fingerprint,
)
from transforms.log_schema import LogSchema, merge_problems
from transforms.outcomes import OutcomeColumn, Outcomes
from transforms.problems import InputError, Problem
from transforms.row_reader import LogFile


def log_schema(config: Config) -> LogSchema:
    """Which columns the config needs.

    Raises:
      InputError: if their uses contradict each other.
    """
    schema = columns_in_use(config)
    problems = schema.problems()
    if problems:
        raise InputError(problems)
    return schema


def columns_in_use(config: Config) -> LogSchema:
    """As `log_schema`, also where the uses contradict each other."""
    data = config.data
    return LogSchema(
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
        clock=_clock(config),
        outcomes=_outcomes(config),
        fill_gone=data.schema_changes.column_gone == "fill",
        fill_cells=data.schema_changes.type_change == "fill",
        enums=tuple(dict.fromkeys([config.scenario.column, *data.schema_changes.enums])),
    )


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


def preprocessing_config(config: Config) -> dict[str, Any]:
    """What `transforms.preprocessing` needs to know of the config."""
    return {
        "categorical": config.features.categorical,
        "numeric": config.features.numbers,
        "num_buckets": config.features.num_buckets,
        "scenario_column": config.scenario.column,
        "day_column": DAY,
        "scenarios": config.scenario.names,
        "tasks": list(config.tasks),
        "spaces": any(task.labelling.may_be_absent for task in config.tasks.values()),
        "request_column": REQUEST if request_columns(config) else None,
        "history": _history_config(config),
    }


def _history_config(config: Config) -> dict[str, Any] | None:
    kept, settings = history(config), config.features.history
    if kept is None or settings is None:
        return None
    return {
        "items": kept.items,
        "scenario": kept.scenario,
        "labels": kept.labels,
        "age": kept.age,
        "age_buckets": settings.age_buckets,
        # Ages are in it, and so are the bounds of their buckets.
        "clock_unit": config.data.clock.unit if config.data.clock else None,
        "length": kept.length,
    }


def _clock(config: Config) -> Clock | None:
    clock = config.data.clock
    if clock is None:
        return None
    return Clock(clock.unit, clock.time_zone, clock.max_skew, clock.other_day == "reject")


def _outcomes(config: Config) -> Outcomes | None:
    data, clock = config.data, _clock(config)
    if data.outcomes is None or clock is None or data.attribution_window is None:
        return None
    return Outcomes(
        key=tuple(data.outcomes.key),
        time=data.outcomes.time,
        event_key=tuple(data.outcomes.event_key),
        columns=tuple(
            OutcomeColumn(name, column.value, column.take)
            for name, column in data.outcomes.columns.items()
        ),
        window=clock.ticks(data.attribution_window),
        skew=clock.ticks(clock.max_skew),
        time_unit=clock.unit,
    )


def splits(config: Config) -> Splits:
    """The config's days."""
    return Splits({name: (days.start, days.end) for name, days in config.data.splits.items()})


@dataclass(frozen=True)
class Inputs:
    """The files that a config reads.

    Args:
      files: Files of the log.
      tables: Files of every joined table.
      problems: What is missing.
      outcomes: Files of the outcomes log.
      open_days: Days whose attribution window is not closed.
    """

    files: tuple[LogFile, ...]
    tables: Mapping[str, list[str]]
    problems: tuple[Problem, ...]
    outcomes: tuple[LogFile, ...] = ()
    open_days: tuple[datetime.date, ...] = ()

    @property
    def paths(self) -> list[str]:
        """Every file."""
        logs = [file.path for file in (*self.files, *self.outcomes)]
        return [*logs, *(path for paths in self.tables.values() for path in paths)]

    def complete(self) -> Inputs:
        """The same.

        Raises:
          InputError: naming every file, day and glob that is missing.
        """
        if self.problems:
            raise InputError(self.problems)
        return self


def find_inputs(config: Config) -> Inputs:
    """Looks for the files of the logs and of every joined table."""
    data = config.data
    root = data.path
    if set("*?[") & set(root):
        what = Problem(
            "data.path", root, "a folder without * ? [ in its name", "Patterns go into data.logs."
        )
        return Inputs((), {}, (what,))
    if "://" not in root and not os.path.isdir(root):
        where = Problem(
            "data.path",
            f"no folder {root}",
            "the folder of the logs",
            "Say where with --set data.path=FOLDER, or draw logs with `equipoise simulate`.",
        )
        return Inputs((), {}, (where,))
    try:
        return _find_inputs(config)
    except (BeamIOError, ValueError) as error:
        if "://" not in root:
            raise
        where = Problem(
            "data.path",
            f"{root}, which cannot be listed ({error})",
            "a folder of a store that Beam reads",
            "docs/how-to/object-stores.md says what Beam needs for it.",
        )
        return Inputs((), {}, (where,))


def _find_inputs(config: Config) -> Inputs:
    data = config.data
    root = data.path
    days = splits(config)
    files, problems = find_log_files(
        root, data.logs, data.format, days, data.day.column, data.empty_days == "warn"
    )
    if data.success_marker is not None:
        problems += missing_markers(root, data.success_marker, days, "data.success_marker")
    outcomes, open_days, missing = _find_outcomes(config, len(files))
    problems += missing
    tables = {}
    for name, table in data.tables.items():
        tables[name], missing = find_files(root, table.files, f"data.tables.{name}.files")
        problems += missing
    found = Inputs(tuple(files), tables, (), outcomes, open_days)
    if data.settle is not None:
        problems += unsettled(found.paths, data.settle)
    return dataclasses.replace(found, problems=tuple(problems))


def _find_outcomes(
    config: Config, first_index: int
) -> tuple[tuple[LogFile, ...], tuple[datetime.date, ...], list[Problem]]:
    """The outcomes' files, the days whose window is open, and what is missing."""
    settings, window = config.data.outcomes, config.data.attribution_window
    if settings is None or window is None:
        return (), (), []
    days = splits(config)
    after = math.ceil(window / datetime.timedelta(days=1))
    try:
        files, absent = find_outcome_files(
            config.data.path,
            settings.files,
            settings.success_marker,
            config.data.format,
            days,
            after,
            first_index,
        )
    except InputError as error:
        return (), (), list(error.problems)
    problems: list[Problem] = []
    open_days: dict[datetime.date, None] = {}
    for day in days.days:
        window_days = [day + datetime.timedelta(days=i) for i in range(after + 1)]
        needed = window_days if settings.trainable == "closed" else [day]
        if absent.keys() & set(needed):
            problems += [
                Problem(
                    absent[arrival],
                    "no such file",
                    f"the outcomes of {arrival}, in the attribution window of {day}",
                    "Wait until they are there or move the days back; or train at once, with the "
                    "bias that docs/reference/outcomes.md tells of: data.outcomes.trainable.",
                )
                for arrival in needed
                if arrival in absent
            ]
        elif absent.keys() & set(window_days):
            open_days[day] = None
    return tuple(files), tuple(open_days), merge_problems(problems)


def before_any_pipeline() -> None:
    """Lets Beam reach object stores in a process that has made no pipeline, which sets this."""
    FileSystems.set_options(PipelineOptions([]))


def fingerprint_inputs(config: Config) -> str:
    """Changes when any file that the config reads changes, appears or goes.

    To be called before any pipeline is made.

    Raises:
      InputError: naming every file, day and glob that is missing.
    """
    before_any_pipeline()
    return fingerprint(find_inputs(config).complete().paths, config.data.path)
