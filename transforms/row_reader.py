"""Raw rows of one file, read column by column; rows that cannot be used, with the reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.cells import is_scalar, show_cell, show_rows, to_number, to_text
from transforms.raw_rows import RawRows
from transforms.readers import Format
from transforms.tally import Example, Tally

REJECTED = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())]
)
"""Columns of the rows that could not be used."""

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class LogFile:
    """One file of a log.

    Args:
      index: Its position among all files that are read, by name.
      path: Where it is.
      format: Its format.
      day: Day of its rows as an ordinal, where the path tells it.
    """

    index: int
    path: str
    format: Format
    day: int | None = None


@dataclass
class Rejections:
    """Rows that cannot be used, as they are found.

    Args:
      file: Their file.
      tally: Gets their counts.
      kind: What they are counted as.
      rows: What is found.
    """

    file: LogFile
    tally: Tally
    kind: str = "rejected"
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)

    def add(self, row: int, reason: str, raw: str) -> None:
        """Adds a row by its number in the file."""
        self.rows.append((self.file.path, row, reason, raw))
        example = Example(self.file.index, row, raw[:_SHOWN_CHARACTERS])
        self.tally.count(self.kind, reason, rows=1, example=example)

    def add_all(self, reader: RowReader) -> None:
        """Adds what a reader rejected."""
        found = np.flatnonzero(reader.reasons)
        texts = show_rows(reader.raw.table.take(pa.array(found)))
        for i, text in zip(found, texts, strict=True):
            self.add(int(reader.raw.numbers[i]), reader.reason_texts[reader.reasons[i]], text)

    def table(self) -> pa.Table:
        """The rows as in `REJECTED`."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(REJECTED)
        arrays = [pa.array(c, t) for c, t in zip(columns, REJECTED.types, strict=True)]
        return pa.Table.from_arrays(arrays, schema=REJECTED)


class RowReader:
    """Reads columns of raw rows, and keeps which rows are rejected for them.

    Args:
      raw: The rows, [B].
      file: Their file.
      tally: Gets the counts of cells.
      time_unit: What timestamps and dates are counted in.
      fill: Columns whose cells count as missing where they cannot be read.
    """

    def __init__(
        self,
        raw: RawRows,
        file: LogFile,
        tally: Tally,
        time_unit: str,
        fill: Collection[str] = frozenset(),
    ):
        self.raw = raw
        self.file = file
        self.tally = tally
        self.time_unit = time_unit
        self.fill = fill
        self.size = raw.table.num_rows
        self.reasons = np.zeros(self.size, np.int32)
        self.reason_texts = [""]

    def reject(self, rows: np.ndarray, reason: str) -> None:
        """Rejects rows, unless they already are."""
        rows = rows & (self.reasons == 0)
        if rows.any():
            self.reasons[rows] = len(self.reason_texts)
            self.reason_texts.append(reason)

    def reject_missing(self, column: str, values: pa.Array) -> None:
        """Rejects rows without a value of a column."""
        self.reject(values.is_null().to_numpy(zero_copy_only=False), f"`{column}` is missing")

    def text(self, column: str) -> pa.Array:
        """A column as strings, [B]; all missing where the file does not have it."""
        return self._read(column, "text")

    def number(self, column: str) -> pa.Array:
        """A column as float64, [B]; all missing where the file does not have it."""
        return self._read(column, "a number")

    def count_cells(
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

    def _read(self, column: str, kind: str) -> pa.Array:
        if column not in self.raw.table.column_names:
            return pa.nulls(self.size, pa.string() if kind == "text" else pa.float64())
        cells = self.raw.table.column(column)
        if is_scalar(cells.type):
            values, bad = to_text(cells) if kind == "text" else to_number(cells, self.time_unit)
        else:
            values = pa.nulls(self.size, pa.string() if kind == "text" else pa.float64())
            bad = cells.is_valid().to_numpy()
        if column in self.raw.nested:
            nested = self.raw.nested[column]
            bad = nested if bad is None else bad | nested
        self.count_cells(column, kind, cells, bad)
        if bad is not None and column in self.fill:
            self.tally.count("filled", column, rows=int(bad.sum()))
            return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
        if bad is not None:
            self.reject(bad, f"`{column}` is not {kind}")
        return values
