"""JSON Lines to Arrow: one object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from transforms.cells import nested_text, to_text
from transforms.raw_rows import BrokenRow, RawRows

_MAX_EXACT = float(1 << 53)
_INT64 = 1 << 63
_NESTED = (dict, list)


def read_json_lines(data: bytes, first_line: int) -> RawRows:
    """Parses whole lines of a JSON Lines file.

    Args:
      data: The lines; empty ones are no rows.
      first_line: Number in the file of the first line, from 1.

    Returns:
      The rows. A key that a line does not have is null there; a column that JSON types
      differently from line to line is text.
    """
    lines = [line.strip() for line in data.split(b"\n")]
    numbers = np.array([i for i, line in enumerate(lines) if line], np.int64)
    if not len(numbers):
        return RawRows(pa.table({}), numbers)
    table = None
    # Arrow parses through line ends: `{} {"a":` and `1}` would be two rows of two lines.
    if all(lines[i][:1] == b"{" and lines[i][-1:] == b"}" for i in numbers):
        try:
            table = _parse(data, lines[numbers[0]])
        except (pa.ArrowInvalid, UnicodeDecodeError, ValueError):
            pass
    if table is not None and table.num_rows == len(numbers) and not _changes_values(table):
        return RawRows(table, numbers + first_line)
    return _parse_one_by_one(lines, numbers, first_line)


def _parse(data: bytes, first: bytes) -> pa.Table:
    data.decode("utf-8")  # Arrow does not check it
    example = json.loads(first)
    if not isinstance(example, dict):
        raise ValueError("not an object")
    # Without a type Arrow reads "2022-04-25" as a timestamp.
    texts = [name for name, value in example.items() if isinstance(value, str)]
    return pa_json.read_json(
        pa.BufferReader(data),
        pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pa_json.ParseOptions(explicit_schema=pa.schema([(n, pa.string()) for n in texts])),
    )


def _changes_values(table: pa.Table) -> bool:
    """Whether Arrow's types may have changed a value: dates, and integers beyond 2^53."""
    for column in table.columns:
        if pa.types.is_temporal(column.type):
            return True
        if pa.types.is_floating(column.type):
            largest = pc.max(pc.abs(column)).as_py()
            if largest is not None and not largest < _MAX_EXACT:
                return True
    return False


def _parse_one_by_one(lines: Sequence[bytes], numbers: np.ndarray, first_line: int) -> RawRows:
    rows: list[dict[str, Any]] = []
    good, broken = [], []
    for i in numbers:
        row, reason = _object(lines[i])
        if reason:
            raw = lines[i].decode("utf-8", errors="replace")
            broken.append(BrokenRow(int(i) + first_line, reason, raw))
        else:
            rows.append(row)
            good.append(i + first_line)
    names = dict.fromkeys(name for row in rows for name in row)
    cells = {name: [row.get(name) for row in rows] for name in names}
    nested = {name: np.array([isinstance(v, _NESTED) for v in cells[name]]) for name in names}
    return RawRows(
        pa.table({name: _column(cells[name]) for name in names}),
        np.array(good, np.int64),
        tuple(broken),
        {name: mask for name, mask in nested.items() if mask.any()},
    )


def _object(line: bytes) -> tuple[dict[str, Any], str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return {}, "the line is not UTF-8"
    try:
        row = json.loads(text, object_pairs_hook=_distinct)
    except _RepeatedKeyError as error:
        return {}, f"the line has the key {error} more than once"
    except (ValueError, RecursionError):
        return {}, "the line is not JSON"
    if not isinstance(row, dict):
        return {}, "the line is not a JSON object"
    if "\\u" in text:  # an escaped half of a surrogate pair is JSON, but no text
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return {}, "the line is not UTF-8"
    return row, ""


class _RepeatedKeyError(Exception):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(next(json.dumps(name) for name in row if names.count(name) > 1))
    return row


def _column(values: list[Any]) -> pa.Array:
    """The type that Arrow gives a column of such values, where it gives one and keeps them."""
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) <= 1 and not kinds & {int, dict, list}:
        return pa.array(values)
    ints = [v for v in values if type(v) is int]
    if kinds == {int} and all(-_INT64 <= v < _INT64 for v in ints):
        return pa.array(values, pa.int64())
    if kinds == {int, float} and all(abs(v) < _MAX_EXACT for v in ints):
        return pa.array(values, pa.float64())
    return pa.array([_text(v) for v in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return to_text(pa.array([value])).values[0].as_py()
    return nested_text(value) if isinstance(value, _NESTED) else json.dumps(value)
