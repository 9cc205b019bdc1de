"""Raw rows of a log file to rows that can become examples, and rows that cannot."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.days import OUT_OF_RANGE, Splits, parse_days
from transforms.dedupe import order_hashes, row_hashes
from transforms.enrich import SideTable, join, number_column, text_column
from transforms.labels import Expression
from transforms.log_schema import LogSchema, column_problems
from transforms.raw_rows import RawRows
from transforms.readers import SEPARATORS
from transforms.row_reader import LogFile, Rejections, RowReader
from transforms.schema_changes import TEXT, stored_types
from transforms.tally import Tally
from transforms.task_labels import Label

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Prepared:
    """What became of raw rows.

    Args:
      rows: Usable rows: `file`, `row`, `day`, `key_hash`, `row_hash`, the event key and all
        features as typed columns, `label:<task>`, `true:<task>`, `unmatched:<table>`; and what the
        labels that wait for outcomes will read.
      rejected: The rest of those in range, as in `row_reader.REJECTED`.
      tally: Counts of what was read, out of range, rejected.
    """

    rows: pa.Table | None
    rejected: pa.Table
    tally: Tally


def label_column(task: str) -> str:
    """Name, among typed columns, of a task's label."""
    return f"label:{task}"


def known_column(task: str) -> str:
    """Name, among typed columns, of a task's label as it was known when the day was over.

    Only labels that wait for outcomes have one: later days may know of that much.
    """
    return f"known:{task}"


def changes_column(task: str) -> str:
    """Name, among typed columns, of the times at which a binary label changed, ascending.

    They are those of outcomes that were known when the row's day was over. Only labels that wait
    for outcomes, and that histories hold, have one.
    """
    return f"changes:{task}"


def known_labels(rows: pa.Table, task: str) -> pa.ChunkedArray:
    """A task's labels as later days may know them, [B]."""
    known = known_column(task)
    return rows.column(known if known in rows.column_names else label_column(task))


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
    tally.columns[file.path] = {
        name: {TEXT} if file.format in SEPARATORS else stored_types(kind)
        for name, kind in zip(raw.table.schema.names, raw.table.schema.types, strict=True)
    }
    rejections = Rejections(file, tally)
    for broken in raw.broken:
        rejections.add(broken.row, broken.reason, broken.raw)
    # A JSON Lines file may leave out what is missing; whether a column is nowhere in the file
    # shows only at its end. Other formats name their columns.
    if file.format != "jsonl":
        known = {name: table.columns for name, table in tables.items()}
        names = raw.table.column_names
        if column_problems(schema, file.path, names, known, schema.fill_columns):
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
    work.check_clock(typed, days[needed])
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
    numbers = dict.fromkeys(schema.numeric)
    if schema.history is not None:
        numbers[schema.event_time] = None
    if schema.outcomes is not None:
        texts |= dict.fromkeys(schema.outcomes.key)
        numbers[schema.event_time] = None
    for label in schema.late_labels.values():
        for expression in label.expressions:
            texts |= dict.fromkeys(sorted(expression.text_columns))
            read = expression.columns - expression.text_columns - schema.outcome_columns
            numbers |= dict.fromkeys(sorted(read))
    return [
        *("file", "row", "day", "key_hash", "row_hash"),
        *map(text_column, texts),
        *map(number_column, numbers),
        *map(label_column, schema.row_labels),
        *map(true_column, schema.true_probabilities),
        *map(unmatched_column, schema.table_keys),
    ]


class _Work(RowReader):
    """Rows of one file on their way to typed columns."""

    def __init__(self, raw: RawRows, file: LogFile, schema: LogSchema, tally: Tally):
        fill = schema.only_features if schema.fill_cells else ()
        super().__init__(raw, file, tally, schema.time_unit, fill)
        self.schema = schema

    def days(self) -> np.ndarray:
        """Ordinals of the days, int32 [B], 0 where a row is rejected for having none."""
        column = self.schema.day_column
        if column is None:
            return np.full(self.size, self.file.day, np.int32)
        texts = self.text(column)
        days, bad = parse_days(texts, self.schema.day_format)
        kind = f"a day in the format {self.schema.day_format}"
        self.count_cells(column, kind, texts, bad)
        self.reject(bad, f"`{column}` is not {kind}")
        self.reject(days == 0, f"`{column}` is missing")
        return days

    def typed_columns(self) -> dict[str, pa.Array]:
        """The log's needed columns, each in the type of its uses."""
        names = self.raw.table.column_names
        typed = {}
        for column in self.schema.text_columns:
            if column in names or column in self.schema.log_only:
                typed[text_column(column)] = self.text(column)
        for column in self.schema.number_columns:
            if column in names or column in self.schema.log_only:
                typed[number_column(column)] = self.number(column)
        return typed

    def complete(self, typed: dict[str, pa.Array]) -> None:
        """Rejects rows that lack what no row may lack; adds columns that JSON left out."""
        schema = self.schema
        for columns, name, kind in (
            (schema.text_columns, text_column, pa.string()),
            (schema.number_columns, number_column, pa.float64()),
        ):
            for column in columns:
                if name(column) not in typed:
                    typed[name(column)] = pa.nulls(self.size, kind)
                    if column in schema.fill_columns and self.file.format != "jsonl":
                        self.tally.count("filled", column, rows=self.size)
        joining = () if schema.outcomes is None else schema.outcomes.key
        needed = (*schema.event_key, schema.user, schema.scenario, *schema.request, *joining)
        for column in needed:
            self.reject_missing(column, typed[text_column(column)])
        self.reject_missing(schema.event_time, typed[number_column(schema.event_time)])
        for column in schema.numeric:
            values = typed[number_column(column)].to_numpy(zero_copy_only=False)
            self.reject(np.abs(values) > _MAX_FLOAT32, f"`{column}` is too large for a feature")

    def check_clock(self, typed: Mapping[str, pa.Array], days: np.ndarray) -> None:
        """Counts rows whose time is not of their day, and rejects those that are far off."""
        clock = self.schema.clock
        if clock is None:
            return
        column = self.schema.event_time
        times = typed[number_column(column)].to_numpy(zero_copy_only=False)
        distance = np.where(self.reasons == 0, clock.distance(times, days), 0)
        far = distance > clock.ticks(clock.max_skew)
        self.tally.count("clock", "skewed", rows=int(((distance > 0) & ~far).sum()))
        self.tally.count("clock", "other_day", rows=int(far.sum()))
        if clock.reject:
            teller = self.schema.day_column
            other = "the file's name" if teller is None else f"`{teller}`"
            self.reject(far, f"`{column}` is of another day than {other}")

    def add_labels(self, typed: dict[str, pa.Array]) -> None:
        """Adds labels, but those that wait for outcomes, and true probabilities."""
        for task, label in self.schema.row_labels.items():
            values, faults = read_label(label, typed)
            for rows, reason in faults:
                self.reject(rows, f"the label of `{task}` {reason}")
            typed[label_column(task)] = values
        for task, column in self.schema.true_probabilities.items():
            values = typed[number_column(column)]
            inside = pc.and_(pc.greater_equal(values, 0), pc.less_equal(values, 1))
            outside = ~inside.fill_null(False).to_numpy(zero_copy_only=False)
            self.reject(outside, f"`{column}` is not a probability")
            typed[true_column(task)] = values


def read_label(
    label: Label, typed: Mapping[str, pa.Array]
) -> tuple[pa.Array, list[tuple[np.ndarray, str]]]:
    """The label of every row, as `Label.read` gives it.

    Args:
      label: How it is read.
      typed: Columns that it reads, by `text_column` and `number_column`, each [B].
    """
    return label.read(lambda expression: _evaluate(expression, typed))


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
