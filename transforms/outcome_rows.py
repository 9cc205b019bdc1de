"""Raw rows of an outcomes log to rows that can be joined, and rows that cannot."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.dedupe import key_hashes, row_hashes
from transforms.enrich import number_column, text_column
from transforms.labels import Expression
from transforms.log_schema import did_you_mean
from transforms.outcomes import Outcomes
from transforms.problems import Problem
from transforms.raw_rows import RawRows
from transforms.row_reader import LogFile, Rejections, RowReader
from transforms.tally import Tally


def value_column(name: str) -> str:
    """Name, among prepared columns, of what an outcome adds to a column."""
    return f"value:{name}"


def prepare_outcomes(
    raw: RawRows, file: LogFile, outcomes: Outcomes
) -> tuple[pa.Table | None, pa.Table, Tally]:
    """Types outcomes; what cannot be used is rejected with a reason.

    Args:
      raw: Rows of the file.
      file: The file.
      outcomes: What is needed of them.

    Returns:
      Usable rows: `file`, `row`, `arrived` (the day of the file), `key` and `event` (hashes,
      uint64), `time` and, for every column, `value:<name>` in float64; the rest as in
      `row_reader.REJECTED`; and the counts. No rows where the file lacks a column.
    """
    tally = Tally()
    tally.count("outcomes", "read", rows=raw.table.num_rows + len(raw.broken))
    rejections = Rejections(file, tally, "outcome_rejected")
    for broken in raw.broken:
        rejections.add(broken.row, broken.reason, broken.raw)
    expressions = [column.expression for column in outcomes.columns]
    texts = {*outcomes.key, *outcomes.event_key}.union(*(e.text_columns for e in expressions))
    numbers = {outcomes.time}.union(*(e.columns - e.text_columns for e in expressions))
    names = raw.table.column_names
    if names and file.format != "jsonl":  # whose lines leave out what is missing
        tally.problems |= {
            Problem(
                file.path,
                f"no column `{column}`",
                "one, for data.outcomes",
                did_you_mean(column, names),
            )
            for column in texts | numbers
            if column not in names
        }
        if tally.problems:
            return None, rejections.table(), tally
    reader = RowReader(raw, file, tally, outcomes.time_unit)
    typed = {text_column(column): reader.text(column) for column in sorted(texts)}
    typed |= {number_column(column): reader.number(column) for column in sorted(numbers)}
    for column in (*outcomes.key, *outcomes.event_key):
        reader.reject_missing(column, typed[text_column(column)])
    time = typed[number_column(outcomes.time)]
    reader.reject_missing(outcomes.time, time)
    rejections.add_all(reader)

    keys = [typed[text_column(column)] for column in outcomes.key]
    events = [typed[text_column(column)] for column in outcomes.event_key]
    rows = {
        "file": np.full(reader.size, file.index, np.int32),
        "row": raw.numbers,
        "arrived": np.full(reader.size, file.day, np.int32),
        "key": key_hashes(keys),
        "event": key_hashes([*keys, *events]) if events else row_hashes(raw.table),
        "time": time,
    }
    for made in outcomes.columns:
        rows[value_column(made.name)] = _evaluate(made.expression, typed).cast(pa.float64())
    return pa.table(rows).filter(pa.array(reader.reasons == 0)), rejections.table(), tally


def _evaluate(expression: Expression, typed: dict[str, pa.Array]) -> pa.Array:
    name = {c: text_column(c) for c in expression.text_columns}
    return expression.evaluate(
        pa.table({c: typed[name.get(c, number_column(c))] for c in expression.columns})
    )
