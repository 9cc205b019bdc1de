"""Raw rows of a log file to rows that can become examples, and rows that cannot."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.cells import is_scalar, show_cell, show_rows, to_number, to_text
from transforms.days import OUT_OF_RANGE, Splits, parse_days
from transforms.dedupe import order_hashes, row_hashes
from transforms.enrich import SideTable, join, number_column, text_column
from transforms.labels import Expression
from transforms.log_schema import LogSchema, column_problems
from transforms.raw_rows import RawRows
from transforms.readers import Format
from transforms.tally import Example, Tally

REJECTED = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())]
)
"""Columns of the rows that could not be used."""

_SHOWN_CHARACTERS = 200
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LogFile:
    """One file of the log.

    Args:
      index: Its position among all files of the log, by name.
      path: Where it is.
      format: Its format.
      day: Day of its rows as an ordinal, where the path tells it.
    """

    index: int
    path: str
    format: Format
    day: int | None = None


@dataclass(frozen=True)
class Prepared:
    """What became of raw rows.

    Args:
      rows: Usable rows: `file`, `row`, `day`, `key_hash`, `row_hash`, the event key and all
        features as typed columns, `label:<task>`, `true:<task>`, `unmatched:<table>`.
      rejected: The rest of those in range, as in `REJECTED`.
      tally: Counts of what was read, out of range, rejected.
    """

    rows: pa.Table | None
    rejected: pa.Table
    tally: Tally


def label_column(task: str) -> str:
    """Name, among typed columns, of a task's label."""
    return f"label:{task}"


def true_column(task: str) -> str:
    """Name, among typed columns, of a task's true probability."""
    return f"true:{task}"


def unmatched_column(table: str) -> str:
    """Name, among typed columns, of the mark for rows that a table has no key for."""
    return f"unmatched:{table}"


def prepare_rows(
    raw: RawRows,
    file: LogFile,
    schema: LogSchema,
    splits: Splits,
    tables: Mapping[str, SideTable],
) -> Prepared:
    """Types, joins and labels rows; what cannot be used is rejected with a reason.

    A row of a day that is not needed is only counted, whatever else it holds. A row with
    several faults is rejected for one of them.

    Args:
      raw: Rows of the file.
      file: The file.
      schema: What is needed of them.
      splits: Which days are needed.
      tables: Tables to join.
    """
    tally = Tally()
    tally.count("read", file.path, rows=raw.table.num_rows + len(raw.broken))
    tally.columns[file.path] = set(raw.table.column_names)
    rejections = _Rejections(file, tally)
    for broken in raw.broken:
        rejections.add(broken.row, broken.reason, broken.raw)
    # A JSON Lines file may leave out what is missing; whether a column is nowhere in the file
    # shows only at its end. Other formats name their columns.
    if file.format != "jsonl":
        known = {name: table.columns for name, table in tables.items()}
        if column_problems(schema, file.path, raw.table.column_names, known):
            return Prepared(None, rejections.table(), tally)

    work = _Work(raw, file, schema, tally)
    days = work.days()
    out_of_range = (splits.of(days) == OUT_OF_RANGE) & (work.reasons == 0)
    for day, rows_ in zip(*np.unique(days[out_of_range], return_counts=True), strict=True):
        name = datetime.date.fromordinal(int(day)).isoformat()
        tally.count("out_of_range", name, rows=int(rows_))
    rejections.add_all(work)
    needed = np.flatnonzero(~out_of_range & (work.reasons == 0))

    work = _Work(_take(raw, needed), file, schema, tally)
    typed = work.typed_columns()
    for name, table in tables.items():
        joined, unmatched = join(typed[text_column(schema.table_keys[name])], table)
        typed |= joined
        typed[unmatched_column(name)] = pa.array(unmatched)
    work.complete(typed)
    work.add_labels(typed)
    rejections.add_all(work)

    keys = [typed[text_column(c)] for c in schema.event_key]
    typed["file"] = pa.array(np.full(work.size, file.index, np.int32))
    typed["row"] = pa.array(work.raw.numbers)
    typed["day"] = pa.array(days[needed])
    requests = [typed[text_column(c)] for c in schema.request]
    typed["key_hash"] = pa.array(order_hashes(keys, requests))
    typed["row_hash"] = pa.array(row_hashes(work.raw.table))
    rows = pa.table({column: typed[column] for column in _output_columns(schema)})
    if work.reasons.any():
        rows = rows.filter(pa.array(work.reasons == 0))
    return Prepared(rows, rejections.table(), tally)


def _output_columns(schema: LogSchema) -> list[str]:
    texts = dict.fromkeys(
        (
            *(*schema.event_key, *schema.categorical, schema.scenario, schema.user),
            *schema.request,
        )
    )
    times = () if schema.history is None else (schema.event_time,)
    return [
        *("file", "row", "day", "key_hash", "row_hash"),
        *map(text_column, texts),
        *map(number_column, dict.fromkeys((*schema.numeric, *times))),
        *map(label_column, schema.labels),
        *map(true_column, schema.true_probabilities),
        *map(unmatched_column, schema.table_keys),
    ]


@dataclass
class _Rejections:
    """Rows that cannot be used, as they are found."""

    file: LogFile
    tally: Tally
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)

    def add(self, row: int, reason: str, raw: str) -> None:
        self.rows.append((self.file.path, row, reason, raw))
        example = Example(self.file.index, row, raw[:_SHOWN_CHARACTERS])
        self.tally.count("rejected", reason, rows=1, example=example)

    def add_all(self, work: _Work) -> None:
        found = np.flatnonzero(work.reasons)
        texts = show_rows(work.raw.table.take(pa.array(found)))
        for i, text in zip(found, texts, strict=True):
            self.add(int(work.raw.numbers[i]), work.reason_texts[work.reasons[i]], text)

    def table(self) -> pa.Table:
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(REJECTED)
        arrays = [pa.array(c, t) for c, t in zip(columns, REJECTED.types, strict=True)]
        return pa.Table.from_arrays(arrays, schema=REJECTED)


class _Work:
    """Rows of one file on their way to typed columns."""

    def __init__(self, raw: RawRows, file: LogFile, schema: LogSchema, tally: Tally):
        self.raw = raw
        self.file = file
        self.schema = schema
        self.tally = tally
        self.size = raw.table.num_rows
        self.reasons = np.zeros(self.size, np.int32)
        self.reason_texts = [""]

    def reject(self, rows: np.ndarray, reason: str) -> None:
        """Rejects rows, unless they already are."""
        rows = rows & (self.reasons == 0)
        if rows.any():
            self.reasons[rows] = len(self.reason_texts)
            self.reason_texts.append(reason)

    def days(self) -> np.ndarray:
        """Ordinals of the days, int32 [B], 0 where a row is rejected for having none."""
        column = self.schema.day_column
        if column is None:
            return np.full(self.size, self.file.day, np.int32)
        texts = self._read(column, "text")
        days, bad = parse_days(texts, self.schema.day_format)
        kind = f"a day in the format {self.schema.day_format}"
        self._count_cells(column, kind, texts, bad)
        self.reject(bad, f"`{column}` is not {kind}")
        self.reject(days == 0, f"`{column}` is missing")
        return days

    def typed_columns(self) -> dict[str, pa.Array]:
        """The log's needed columns, each in the type of its uses."""
        names = self.raw.table.column_names
        typed = {}
        for column in self.schema.text_columns:
            if column in names or column in self.schema.log_only:
                typed[text_column(column)] = self._read(column, "text")
        for column in self.schema.number_columns:
            if column in names or column in self.schema.log_only:
                typed[number_column(column)] = self._read(column, "a number")
        return typed

    def complete(self, typed: dict[str, pa.Array]) -> None:
        """Rejects rows that lack what no row may lack; adds columns that JSON left out."""
        schema = self.schema
        for columns, name, kind in (
            (schema.text_columns, text_column, pa.string()),
            (schema.number_columns, number_column, pa.float64()),
        ):
            for column in columns:
                typed.setdefault(name(column), pa.nulls(self.size, kind))
        needed = (*schema.event_key, schema.user, schema.scenario, *schema.request)
        required = [(c, text_column(c)) for c in needed]
        for column, target in [*required, (schema.event_time, number_column(schema.event_time))]:
            missing = typed[target].is_null().to_numpy(zero_copy_only=False)
            self.reject(missing, f"`{column}` is missing")
        for column in schema.numeric:
            values = typed[number_column(column)].to_numpy(zero_copy_only=False)
            self.reject(np.abs(values) > _MAX_FLOAT32, f"`{column}` is too large for a feature")

    def add_labels(self, typed: dict[str, pa.Array]) -> None:
        """Adds every task's label and true probability."""
        for task, label in self.schema.labels.items():
            values, faults = label.read(lambda expression: _evaluate(expression, typed))
            for rows, reason in faults:
                self.reject(rows, f"the label of `{task}` {reason}")
            typed[label_column(task)] = values
        for task, column in self.schema.true_probabilities.items():
            values = typed[number_column(column)]
            inside = pc.and_(pc.greater_equal(values, 0), pc.less_equal(values, 1))
            outside = ~inside.fill_null(False).to_numpy(zero_copy_only=False)
            self.reject(outside, f"`{column}` is not a probability")
            typed[true_column(task)] = values

    def _read(self, column: str, kind: str) -> pa.Array:
        read = to_text if kind == "text" else to_number
        if column not in self.raw.table.column_names:
            return pa.nulls(self.size, pa.string() if kind == "text" else pa.float64())
        cells = self.raw.table.column(column)
        if is_scalar(cells.type):
            values, bad = read(cells)
        else:
            values = pa.nulls(self.size, pa.string() if kind == "text" else pa.float64())
            bad = cells.is_valid().to_numpy()
        if column in self.raw.nested:
            nested = self.raw.nested[column]
            bad = nested if bad is None else bad | nested
        self._count_cells(column, kind, cells, bad)
        if bad is not None:
            self.reject(bad, f"`{column}` is not {kind}")
        return values

    def _count_cells(
        self, column: str, kind: str, cells: pa.Array | pa.ChunkedArray, bad: np.ndarray | None
    ) -> None:
        """Counts cells and bad cells of a column of the file, to tell when all are bad."""
        what = (self.file.path, column, kind)
        self.tally.count("cells", *what, rows=len(cells) - cells.null_count)
        if bad is not None and bad.any():
            first = int(np.flatnonzero(bad)[0])
            shown = show_cell(cells, first)[:_SHOWN_CHARACTERS]
            example = Example(self.file.index, int(self.raw.numbers[first]), shown)
            self.tally.count("bad_cells", *what, rows=int(bad.sum()), example=example)


def _evaluate(expression: Expression, typed: Mapping[str, pa.Array]) -> pa.Array:
    name = {c: text_column(c) for c in expression.text_columns}
    return expression.evaluate(
        pa.table({c: typed[name.get(c, number_column(c))] for c in expression.columns})
    )


def _take(raw: RawRows, positions: np.ndarray) -> RawRows:
    if len(positions) == raw.table.num_rows:
        return raw
    nested = {column: mask[positions] for column, mask in raw.nested.items()}
    return RawRows(raw.table.take(pa.array(positions)), raw.numbers[positions], (), nested)
