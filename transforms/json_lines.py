"""JSON Lines to Arrow: one object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from transforms.raw_rows import BrokenRow, RawRows

_MAX_EXACT = float(1 << 53)
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
    lines = data.split(b"\n")
    numbers = np.array([i for i, line in enumerate(lines) if line.strip()], np.int64)
    if not len(numbers):
        return RawRows(pa.table({}), numbers)
    try:
        table = _parse(data, lines[numbers[0]])
    except (pa.ArrowInvalid, UnicodeDecodeError, ValueError):
        table = None
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
            raw = lines[i].decode("utf-8", errors="replace").strip()
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
        row = json.loads(text)
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


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {bool} or kinds <= {float}:
        return pa.array(values)
    return pa.array([_text(v) for v in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if abs(value) < _MAX_EXACT and value == int(value) else str(value)
    return json.dumps(value)
