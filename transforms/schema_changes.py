"""What is different about the columns of a log from one day to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from transforms.days import Splits
from transforms.log_schema import LogSchema, merge_problems
from transforms.problems import Problem
from transforms.row_reader import LogFile
from transforms.tally import Tally

Kind = Literal["new_column", "column_gone", "type_change", "new_value"]
KINDS: tuple[Kind, ...] = ("new_column", "column_gone", "type_change", "new_value")

Columns = Mapping[str, Collection[str]]
"""Types that each column is stored in; none where all of its cells are missing."""

TEXT = "text"
"""Type of all columns of a CSV or TSV file."""

MOST_VALUES = 1000
"""Columns of more values are no enums."""

_ORDER = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("halffloat", "float", "double", "string"),
)
"""Types in an order in which a later one is wider."""


@dataclass(frozen=True)
class Change:
    """A change, in words.

    Args:
      kind: What sort of change.
      problem: Where, what was found, and what was there before.
    """

    kind: Kind
    problem: Problem

    def to_dict(self) -> dict[str, str]:
        """The change as `counts.json` has it."""
        what = self.problem
        return {"kind": self.kind, "where": what.where, "found": what.found, "was": what.expected}


def stored_types(kind: pa.DataType) -> set[str]:
    """The name of a type, whatever way it is encoded in; none of a column of nulls."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return set()
    return {"string" if pa.types.is_large_string(kind) else str(kind)}


def column_changes(
    columns: Mapping[str, Columns], files: Sequence[LogFile], before: Columns | None
) -> list[Change]:
    """Compares the columns of files with those of the days before.

    Args:
      columns: Columns of each file, by its path; a file without rows may have none.
      files: The files.
      before: Columns of the last day before them. Without it, those of the earliest file.
    """
    in_order = sorted(files, key=lambda file: (file.day or 0, file.index))
    seen = [file.path for file in in_order if columns.get(file.path)]
    if not seen:
        return []
    reference = columns[seen[0]] if before is None else before
    found: dict[Kind, list[Problem]] = {}
    for path in seen:
        for kind, problem in _differences(path, columns[path], reference):
            found.setdefault(kind, []).append(problem)
    return [
        Change(kind, problem) for kind in KINDS for problem in merge_problems(found.get(kind, []))
    ]


def value_changes(tally: Tally, schema: LogSchema, splits: Splits) -> list[Change]:
    """Values of enums that later days have and the days of the first split do not.

    Args:
      tally: With the counts of values.
      schema: Which columns are enums.
      splits: The days.
    """
    first, *later = splits.names
    changes = []
    for column in schema.enums:
        if column in tally.of("no_enum"):
            if column != schema.scenario:  # which may have any number
                said = f"`{column}`, of more than {MOST_VALUES} values"
                problem = Problem("data.schema_changes.enums", said, "columns of few values")
                changes.append(Change("new_value", problem))
            continue
        values: dict[str, dict[str, int]] = {name: {} for name in splits.names}
        for what, rows in sorted(tally.counts.items()):
            if what[:2] == ("value", column):
                values[what[2]][what[3]] = rows
        for name in later:
            new = {v: rows for v, rows in values[name].items() if v not in values[first]}
            listed = ", ".join(f"{value!r} in {rows} rows" for value, rows in new.items())
            if new:
                said = f"values of `{column}` that data.{first} lacks: {listed}"
                changes.append(Change("new_value", Problem(f"data.{name}", said, "none")))
    return changes


def _differences(path: str, columns: Columns, before: Columns) -> Iterator[tuple[Kind, Problem]]:
    for column in sorted(columns.keys() - before.keys()):
        yield "new_column", Problem(path, f"a new column `{column}`", "the columns of before")
    for column in sorted(before.keys() - columns.keys()):
        yield "column_gone", Problem(path, f"no column `{column}`", "the one that was there before")
    for column in sorted(before.keys() & columns.keys()):
        now, then = set(columns[column]), set(before[column])
        if now and then and now != then:
            how = "widened" if 0 <= _width(then) < _width(now) else "of another type"
            found = f"column `{column}` {how}: {', '.join(sorted(now))}"
            yield "type_change", Problem(path, found, f"{', '.join(sorted(then))}, as before")


def _width(types: Collection[str]) -> int:
    """The place of the widest type; strings are not wider than numbers, but other."""
    numbers = [t for t in types if t != "string"]
    if len(numbers) < len(types) or not all(t in _ORDER for t in types):
        return -1
    return max(_ORDER.index(t) for t in numbers)
