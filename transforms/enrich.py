"""User and item tables, joined to log rows by their key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.cells import is_scalar, show_cell, to_number, to_text
from transforms.log_schema import LogSchema, did_you_mean, merge_problems, name_some
from transforms.problems import InputError, Problem
from transforms.raw_rows import RawRows
from transforms.readers import file_format, parse_block, read_blocks

KEY = "key"
_SHOWN = 3


def text_column(column: str) -> str:
    """Name, among typed columns, of a column read as text."""
    return f"text:{column}"


def number_column(column: str) -> str:
    """Name, among typed columns, of a column read as numbers."""
    return f"number:{column}"


@dataclass(frozen=True)
class SideTable:
    """A table in memory, ready to be joined.

    Args:
      rows: Its `key` as text, distinct and never missing, and its needed columns under
        `text_column` and `number_column` names, [N].
      columns: All its columns but the key, needed or not.
    """

    rows: pa.Table
    columns: tuple[str, ...]


def load_side_table(
    schema: LogSchema,
    name: str,
    paths: Sequence[str],
    format: str,
    open_file: Callable[[str], BinaryIO],
) -> SideTable:
    """Reads a table's files.

    Args:
      schema: Which of its columns are needed, and as what.
      name: The table.
      paths: Its files, in order.
      format: Their format, or `auto`.
      open_file: Opens a file by its path.

    Raises:
      InputError: with every file, row and column that cannot be used. A table is small and
        joined to many rows, so none of its rows is rejected quietly.
    """
    problems: list[Problem] = []
    parts: list[pa.Table] = []
    sources: list[str] = []
    columns: dict[str, set[str]] = {path: set() for path in paths}
    for path in paths:
        try:
            with open_file(path) as file:
                for block in read_blocks(file, path, file_format(path, format)):
                    raw = parse_block(block, open_file)
                    if not raw.table.column_names and not raw.broken:
                        continue  # nothing is in it
                    part, found = _typed(schema, name, path, raw)
                    problems += found
                    columns[path].update(raw.table.column_names)
                    if part is not None:
                        parts.append(part)
                        sources += [path] * part.num_rows
        except InputError as error:
            problems += error.problems
    everything = set().union(*columns.values())
    for path, found_here in columns.items():
        problems += [
            Problem(path, f"no column `{c}`, which other files of table {name} have", "one")
            for c in sorted((everything & schema.uses.keys()) - found_here)
            if found_here
        ]
    if not problems and not parts:
        problems = [Problem(name_some(paths), "no rows", f"rows, for data.tables.{name}")]
    if not problems:
        rows = pa.concat_tables(parts, promote=True).combine_chunks()
        problems = _repeated_keys(schema.table_keys[name], rows.column(KEY), sources)
    if problems:
        raise InputError(merge_problems(problems))
    return SideTable(rows, tuple(sorted(everything - {schema.table_keys[name]})))


def join(keys: pa.Array, table: SideTable) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Looks rows up in a table.

    Args:
      keys: Keys of the rows as text, [B].
      table: The table.

    Returns:
      The table's needed columns, null where there is no such key, each [B]; and where there
      is none, bool [B].
    """
    positions = pc.index_in(keys, value_set=table.rows.column(KEY), skip_nulls=True)
    joined = {
        column: table.rows.column(column).take(positions).combine_chunks()
        for column in table.rows.column_names
        if column != KEY
    }
    return joined, positions.is_null().to_numpy(zero_copy_only=False)


def _typed(
    schema: LogSchema, name: str, path: str, raw: RawRows
) -> tuple[pa.Table | None, list[Problem]]:
    key = schema.table_keys[name]
    problems = [
        Problem(f"{path}, row {row.row}", f"{row.reason} in {row.raw[:80]!r}", "a whole row")
        for row in raw.broken[:_SHOWN]
    ]
    if key not in raw.table.column_names:
        problems.append(
            Problem(
                path,
                f"no column `{key}`",
                f"one, for data.tables.{name}.key",
                did_you_mean(key, raw.table.column_names),
            )
        )
        return None, problems
    typed = {}
    number = partial(to_number, unit=schema.time_unit)
    wanted = [(key, KEY, to_text)]
    wanted += [(c, text_column(c), to_text) for c in schema.text_columns if c != key]
    wanted += [(c, number_column(c), number) for c in schema.number_columns if c != key]
    for column, target, read in wanted:
        if column not in raw.table.column_names:
            continue
        cells = raw.table.column(column)
        if not is_scalar(cells.type):
            problems.append(Problem(path, f"`{column}` of type {cells.type}", "single values"))
            continue
        typed[target], bad = read(cells)
        bad = np.zeros(len(cells), bool) if bad is None else bad
        bad |= raw.nested.get(column, False)
        kind = "numbers" if read is number else "single texts in UTF-8"
        problems += [
            Problem(
                f"{path}, row {raw.numbers[i]}",
                f"{show_cell(cells, int(i))} in `{column}`",
                f"{kind}, for {', '.join(schema.uses[column])}",
            )
            for i in np.flatnonzero(bad)[:_SHOWN]
        ]
    if problems:
        return None, problems
    missing = typed[KEY].is_null().to_numpy(zero_copy_only=False)
    problems = [
        Problem(f"{path}, row {raw.numbers[i]}", f"no `{key}`", "a key in every row of a table")
        for i in np.flatnonzero(missing)[:_SHOWN]
    ]
    return pa.table(typed), problems


def _repeated_keys(key: str, keys: pa.ChunkedArray, sources: Sequence[str]) -> list[Problem]:
    counts = pc.value_counts(keys)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if not len(repeated):
        return []
    shown = [entry.as_py() for entry in repeated[:_SHOWN]]
    listed = ", ".join(f"{e['values']!r} {e['counts']} times" for e in shown)
    first = pc.index(keys, shown[0]["values"]).as_py()
    return [
        Problem(
            sources[first],
            f"{len(repeated)} values of `{key}` more than once ({listed})",
            "each key once",
            "Keep the row that is right on the days of the config.",
        )
    ]
