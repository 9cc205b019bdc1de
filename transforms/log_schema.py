"""What a job needs of its logs: which columns, as text or as numbers, and what for."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transforms.clock import Clock
from transforms.history import PREFIX as HISTORY_PREFIX
from transforms.history import History
from transforms.labels import Expression
from transforms.outcomes import Outcomes
from transforms.problems import Problem
from transforms.statistics import PREFIX, Statistic
from transforms.task_labels import Label

RESERVED_PREFIXES = ("_", PREFIX, HISTORY_PREFIX)
"""Features of our own making start with one: `_scenario`, `_true_<task>`, statistics, histories."""


@dataclass(frozen=True)
class LogSchema:
    """Columns of the logs and of the tables joined to them, by their use.

    The use decides how a column is read: as text where it is embedded, joined or compared
    with a text, as a number where it is counted with. A column may be both.

    Args:
      categorical: Features read as text.
      numeric: Features read as numbers.
      scenario: Column of the scenario.
      scenarios: Names of the scenarios; the last one takes all that are not listed.
      user: Column of the user.
      event_key: Columns that together identify an event.
      event_time: Column of its time.
      day_column: Column of its day. None where the path tells it.
      day_format: strptime format of that column.
      labels: Label of every task.
      true_probabilities: Column of the true probability, for tasks where it is known.
      table_keys: Key column of every joined table.
      statistics: Past-days statistics, by categorical features and the scenario.
      history: What is kept of users' behaviours: categorical features, the scenario and labels.
      request: Columns that together identify a request; none where no task ranks within requests.
      clock: How event times are read. None where they are only compared.
      outcomes: What arrives in a log of its own.
      fill_gone: Whether a column that is a feature only may be gone from some files.
      fill_cells: Whether a cell of such a column counts as missing where it cannot be read.
      enums: Columns that are watched for new values.
    """

    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    scenario: str
    scenarios: tuple[str, ...]
    user: str
    event_key: tuple[str, ...]
    event_time: str
    day_column: str | None
    day_format: str
    labels: Mapping[str, Label]
    true_probabilities: Mapping[str, str]
    table_keys: Mapping[str, str]
    statistics: tuple[Statistic, ...] = ()
    history: History | None = None
    request: tuple[str, ...] = ()
    clock: Clock | None = None
    outcomes: Outcomes | None = None
    fill_gone: bool = False
    fill_cells: bool = False
    enums: tuple[str, ...] = ()

    @cached_property
    def text_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Columns read as text, each with the config keys that use it."""
        uses = [(column, "features.categorical") for column in self.categorical]
        uses.append((self.scenario, "scenario.column"))
        uses.append((self.user, "data.user"))
        uses += [(column, "data.event_key") for column in self.event_key]
        uses += [(column, "data.request") for column in self.request]
        if self.day_column is not None:
            uses.append((self.day_column, "data.day.column"))
        uses += [(column, "features.statistics") for s in self.statistics for column in s.by]
        uses += [(key, f"data.tables.{table}.key") for table, key in self.table_keys.items()]
        if self.outcomes is not None:
            uses += [(column, "data.outcomes.key") for column in self.outcomes.key]
        for key, expression in self._expressions():
            uses += [(column, key) for column in sorted(expression.text_columns)]
        return _grouped(uses)

    @cached_property
    def number_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Columns read as numbers, each with the config keys that use it."""
        uses = [(column, "features.numeric") for column in self.numeric]
        uses.append((self.event_time, "data.event_time"))
        for key, expression in self._expressions():
            columns = expression.columns - expression.text_columns - self.outcome_columns
            uses += [(column, key) for column in sorted(columns)]
        for task, column in self.true_probabilities.items():
            uses.append((column, f"tasks.{task}.true_probability"))
        return _grouped(uses)

    @cached_property
    def uses(self) -> Mapping[str, tuple[str, ...]]:
        """All columns, each with the config keys that use it."""
        pairs = [*self.text_columns.items(), *self.number_columns.items()]
        return _grouped((column, use) for column, uses in pairs for use in uses)

    @cached_property
    def log_only(self) -> frozenset[str]:
        """Columns that must stand in the log itself, not in a joined table."""
        day = () if self.day_column is None else (self.day_column,)
        joining = () if self.outcomes is None else self.outcomes.key
        return frozenset(
            (
                *(*self.event_key, self.event_time, self.user, *day),
                *(*self.table_keys.values(), *self.request, *joining),
            )
        )

    @property
    def time_unit(self) -> str:
        """What timestamps and dates are counted in where they are numbers."""
        return "s" if self.clock is None else self.clock.unit

    @cached_property
    def only_features(self) -> frozenset[str]:
        """Columns that are features and nothing else, so that their values may be missing."""
        kinds = {"features.categorical", "features.numeric"}
        return frozenset(column for column, uses in self.uses.items() if kinds.issuperset(uses))

    @property
    def fill_columns(self) -> frozenset[str]:
        """Columns that may be gone from some files."""
        return self.only_features if self.fill_gone else frozenset()

    @property
    def outcome_columns(self) -> frozenset[str]:
        """Columns that labels read of the outcomes, not of the log."""
        return frozenset(() if self.outcomes is None else self.outcomes.names)

    @cached_property
    def late_labels(self) -> Mapping[str, Label]:
        """Labels that are known only when the outcomes are joined."""
        return {
            task: label
            for task, label in self.labels.items()
            if any(e.columns & self.outcome_columns for e in label.expressions)
        }

    @cached_property
    def row_labels(self) -> Mapping[str, Label]:
        """The other labels, which a row tells by itself."""
        return {task: label for task, label in self.labels.items() if task not in self.late_labels}

    @property
    def past_settings(self) -> dict[str, Any]:
        """What the labels and times of past days are, for days that go on from them; JSON."""
        tasks = {task for statistic in self.statistics for task in statistic.of}
        tasks.update(() if self.history is None else self.history.labels)
        late = self.outcomes is not None and not tasks.isdisjoint(self.late_labels)
        return {
            "labels": {
                task: {"label": label.text, "space": label.space}
                for task, label in self.labels.items()
                if task in tasks
            },
            "outcomes": dataclasses.asdict(self.outcomes) if late and self.outcomes else None,
            "clock_unit": None if self.clock is None else self.clock.unit,
        }

    def _expressions(self) -> Iterator[tuple[str, Expression]]:
        """Every task's expressions, each with the config key that holds it."""
        for task, label in self.labels.items():
            keys = (f"tasks.{task}.label", f"tasks.{task}.space")
            yield from zip(keys, label.expressions, strict=False)

    def problems(self) -> list[Problem]:
        """Contradictions among the uses, which no data could satisfy."""
        found = []
        for column, key in ((self.user, "data.user"), (self.scenario, "scenario.column")):
            if column in self.numeric:
                found.append(
                    Problem(
                        "features.numeric",
                        f"`{column}`, which is {key} and so is read as text",
                        "columns that are numbers only",
                        "Move it to features.categorical.",
                    )
                )
            if column in self.labels:
                found.append(
                    Problem(
                        f"tasks.{column}",
                        f"the name of {key}",
                        "a name that no other column of the examples has",
                        "Rename the task.",
                    )
                )
        for column in sorted(set(self.enums) - {self.scenario, *self.categorical}):
            found.append(
                Problem(
                    "data.schema_changes.enums",
                    f"`{column}`",
                    f"columns of features.categorical: {', '.join(self.categorical)}",
                )
            )
        for column in sorted(self.outcome_columns & self.uses.keys()):
            found.append(
                Problem(
                    f"data.outcomes.columns.{column}",
                    f"a column that is read of the log, for {', '.join(self.uses[column])}",
                    "a name of its own, which labels read as a number and nothing else does: what "
                    "users did afterwards is no feature",
                    "Rename it.",
                )
            )
        for column in (*self.categorical, *self.numeric, self.scenario, self.user):
            if column.startswith(RESERVED_PREFIXES):
                found.append(
                    Problem(
                        self.uses[column][0],
                        f"`{column}`",
                        "a name that does not start with "
                        f"{' or '.join(f'`{p}`' for p in RESERVED_PREFIXES)}: such names are kept "
                        "for columns of our own",
                    )
                )
        return found


def column_problems(
    schema: LogSchema,
    path: str,
    log_columns: Collection[str],
    table_columns: Mapping[str, Collection[str]],
    may_be_gone: Collection[str] = frozenset(),
) -> list[Problem]:
    """Compares the columns of a log file and the tables with what is needed.

    Args:
      schema: What is needed.
      path: The log file.
      log_columns: Its columns.
      table_columns: Columns of every joined table, without its key.
      may_be_gone: Columns that may be nowhere.

    Returns:
      A problem for every column that is nowhere, or in several places.
    """
    problems = [
        Problem(
            path,
            f"column `{column}`",
            "no column of that name, which data.outcomes makes",
            "Rename it in data.outcomes.columns.",
        )
        for column in sorted(schema.outcome_columns.intersection(log_columns))
    ]
    everywhere = [*log_columns, *(c for columns in table_columns.values() for c in columns)]
    for column, uses in schema.uses.items():
        tables = [table for table, columns in table_columns.items() if column in columns]
        places = (["the log"] if column in log_columns else []) + [
            f"table {table}" for table in tables
        ]
        needed_for = f"for {', '.join(uses)}"
        if len(places) > 1:
            problems.append(
                Problem(
                    path,
                    f"column `{column}` in {' and in '.join(places)}",
                    f"it in one place only, {needed_for}",
                    "Rename or drop one of them.",
                )
            )
        elif column in schema.log_only and column not in log_columns:
            known = f"It is in {places[0]}, where it cannot serve for this." if places else ""
            problems.append(
                Problem(
                    path,
                    f"no column `{column}` in the log",
                    f"one, {needed_for}",
                    known or did_you_mean(column, log_columns),
                )
            )
        elif not places and column not in may_be_gone:
            where = "the log or its tables" if table_columns else "the log"
            problems.append(
                Problem(
                    path,
                    f"no column `{column}` in {where}",
                    f"one, {needed_for}",
                    did_you_mean(column, everywhere),
                )
            )
    return problems


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name closest to an unknown one, as a question; else all of them."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"There are: {', '.join(names)}." if names else ""


def merge_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Joins problems that differ only in where they are."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        key = (problem.found, problem.expected, problem.remedy)
        places.setdefault(key, []).append(problem.where)
    merged = []
    for (found, expected, remedy), paths in places.items():
        merged.append(Problem(name_some(sorted(set(paths))), found, expected, remedy))
    return sorted(merged, key=str)


def name_some(paths: Sequence[str]) -> str:
    """The first paths, and how many more there are."""
    more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
    return ", ".join(paths[:2]) + more


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for column, use in pairs:
        uses = groups.setdefault(column, [])
        if use not in uses:
            uses.append(use)
    return {column: tuple(uses) for column, uses in groups.items()}
