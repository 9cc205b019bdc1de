"""CSV and TSV to Arrow, where one line is one row whatever the lines around it hold.

A quoted value may hold separators and quotes but no line break: a quote that is not closed
then spoils its own line instead of swallowing those that follow.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from transforms.raw_rows import BrokenRow, RawRows

_OPEN_QUOTE = "a quote is not closed"

# Arrow has no limit, and a line must not be read otherwise because another one is broken.
csv.field_size_limit(sys.maxsize)


def read_header(line: bytes, separator: str) -> tuple[str, ...]:
    """Column names from a file's first line.

    Args:
      line: The line.
      separator: What is between the columns.

    Raises:
      ValueError: if the line is not UTF-8, is empty, names a column twice, or holds a null byte
        or a bare carriage return.
    """
    text = line.decode("utf-8-sig").rstrip("\r\n")
    if "\0" in text:  # which is UTF-8, but no text
        raise ValueError("null bytes in its first line, as UTF-16 has them")
    try:
        names = next(csv.reader([text], delimiter=separator), [])
    except csv.Error:
        # What is left to break a header is a carriage return that ends no line.
        raise ValueError("lines that end in a carriage return alone") from None
    if not any(names):
        raise ValueError("no column names in its first line")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"column `{repeated[0]}` more than once in its first line")
    return tuple(names)


def read_csv_lines(
    data: bytes, header: Sequence[str], first_line: int, separator: str = ","
) -> RawRows:
    """Parses whole lines of a CSV file, without its header.

    Args:
      data: The lines; empty ones are no rows.
      header: Names of the columns.
      first_line: Number in the file of the first line, from 1.
      separator: What is between the columns.

    Returns:
      The rows, all columns as strings, an empty cell as null.
    """
    # Carriage returns stay: Arrow and the csv module both take `\r\n` as a line's end.
    lines = data.split(b"\n")
    numbers = np.array([i for i, line in enumerate(lines) if line not in (b"", b"\r")], np.int64)
    if _one_row_a_line(data, lines, numbers, separator):
        try:
            table = _parse(data, header, separator)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            pass
        else:
            if table.num_rows == len(numbers):
                return RawRows(table, numbers + first_line)
    return _parse_one_by_one(lines, numbers, header, first_line, separator)


def _one_row_a_line(
    data: bytes, lines: Sequence[bytes], numbers: np.ndarray, separator: str
) -> bool:
    """Whether a parse with as many rows as lines can only have taken each line for a row.

    Arrow also ends a row at a carriage return, and takes a null byte for text; and a quote that
    is open in the last line swallows no further line that would be missed.
    """
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n") + data.endswith(b"\r"):
        return False
    if b'"' not in data:
        return True
    _, reason = _fields(lines[numbers[-1]].removesuffix(b"\r"), 0, separator)
    return reason != _OPEN_QUOTE


def _parse(data: bytes, header: Sequence[str], separator: str) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in header])
    if not data.strip(b"\r\n"):
        return schema.empty_table()
    data.decode("utf-8")  # quicker than Arrow's check, cell by cell
    # Not read_csv: on Python 3.10 it searches the whole heap for a cycle, 0.2 s with TensorFlow.
    reader = pa_csv.open_csv(
        pa.BufferReader(data),
        pa_csv.ReadOptions(use_threads=False, column_names=list(header), block_size=len(data) + 1),
        pa_csv.ParseOptions(delimiter=separator, quote_char='"' if b'"' in data else False),
        pa_csv.ConvertOptions(
            check_utf8=False,
            column_types=schema,
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return reader.read_all()


def _parse_one_by_one(
    lines: Sequence[bytes],
    numbers: np.ndarray,
    header: Sequence[str],
    first_line: int,
    separator: str,
) -> RawRows:
    rows, good, broken = [], [], []
    for i in numbers:
        fields, reason = _fields(lines[i].removesuffix(b"\r"), len(header), separator)
        if reason:
            raw = lines[i].decode("utf-8", errors="replace")
            broken.append(BrokenRow(int(i) + first_line, reason, raw))
        else:
            rows.append(fields)
            good.append(i + first_line)
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    arrays = [pa.array((cell or None for cell in column), pa.string()) for column in columns]
    table = pa.Table.from_arrays(arrays, names=list(header))
    return RawRows(table, np.array(good, np.int64), tuple(broken))


def _fields(line: bytes, width: int, separator: str) -> tuple[list[str], str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return [], "the line is not UTF-8"
    if "\0" in text:
        return [], "the line holds a null byte"
    reader = csv.reader([text, ""], delimiter=separator)
    try:
        fields = next(reader)
    except csv.Error as error:
        return [], f"the line is not CSV: {error}"
    if reader.line_num > 1:  # it went on in the second line
        return [], _OPEN_QUOTE
    if len(fields) != width:
        return [], f"wrong number of fields, not {width}"
    return fields, ""
