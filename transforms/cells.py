"""Cells of any Arrow type as text or as numbers, a whole column at a time.

The column's use decides, not its stored type: a feature that is embedded is text, a
feature that is bucketed is a number. So `7` is the text `7` in every format, also where
a writer stored it as 7.0 because the column has gaps.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.clock import TICKS

# Just what Arrow's cast from text to double takes, so that a cast of matches cannot fail.
_NUMBER = r"^-?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))$"
_TRUE = pa.array(["true", "True", "TRUE"])
_FALSE = pa.array(["false", "False", "FALSE"])
_MAX_EXACT = float(1 << 53)


class Cells(NamedTuple):
    """A column in its used type.

    Args:
      values: The cells, null where one is missing or bad, [B].
      bad: Where a cell is there but cannot be used, bool [B]. None where all can.
    """

    values: pa.Array
    bad: np.ndarray | None


def is_scalar(kind: pa.DataType) -> bool:
    """Whether cells of this type can be text or numbers at all (lists and structs cannot)."""
    return not (
        pa.types.is_nested(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_float16(kind)
        or pa.types.is_duration(kind)
    )


def to_text(column: pa.Array | pa.ChunkedArray) -> Cells:
    """Reads cells as text, by the rules of docs/reference/logs.md.

    Args:
      column: Cells of a scalar type, [B].

    Returns:
      Strings, [B]; bad where bytes are not UTF-8.
    """
    array = _flat(column)
    kind = array.type
    if pa.types.is_floating(kind):
        return Cells(_float_text(array), None)
    if _is_bytes(kind):
        binary = array.cast(pa.binary())
        try:
            return Cells(binary.cast(pa.string()), None)
        except pa.ArrowInvalid:
            texts = [_decoded(value) for value in binary.to_pylist()]
            values = pa.array(texts, pa.string())
            return Cells(values, _missing(values) & ~_missing(array))
    if pa.types.is_decimal(kind):
        return Cells(_decimal_text(array), None)
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return Cells(_time_text(array), None)
    return Cells(array.cast(pa.string()), None)


def to_number(column: pa.Array | pa.ChunkedArray, unit: str = "s") -> Cells:
    """Reads cells as numbers, by the rules of docs/reference/logs.md.

    Args:
      column: Cells of a scalar type, [B].
      unit: What timestamps, dates and times of day are counted in: a key of `TICKS`.

    Returns:
      Numbers, float64 [B]; bad where a text is no number, or a number is not finite.
    """
    array = _flat(column)
    if _is_bytes(array.type) or pa.types.is_decimal(array.type):
        values = _parsed(array)
    elif pa.types.is_temporal(array.type):
        values = _counted(array, unit)
    else:
        values = array.cast(pa.float64(), safe=False)
    bad = _missing(values) & ~_missing(array)
    numbers = values.to_numpy(zero_copy_only=False)
    infinite = np.isinf(numbers)
    if infinite.any() or np.isnan(numbers).any():
        bad |= infinite
        values = pa.array(numbers, mask=~np.isfinite(numbers))
    return Cells(values, bad if bad.any() else None)


def nested_text(value: object) -> str:
    """A list or an object as JSON, the same whatever keys and types its neighbours have."""
    return json.dumps(_pruned(value), ensure_ascii=False, sort_keys=True, default=_readable)


def show_rows(table: pa.Table) -> list[str]:
    """Rows as JSON for people to read, whatever their cells hold."""
    # As bytes, for Parquet may hold texts that are not UTF-8.
    types = [pa.binary() if pa.types.is_string(t) else t for t in table.schema.types]
    rows = table.cast(pa.schema(list(zip(table.schema.names, types, strict=True)))).to_pylist()
    return [json.dumps(row, ensure_ascii=False, default=_readable) for row in rows]


def show_cell(column: pa.Array | pa.ChunkedArray, position: int) -> str:
    """One cell for people to read, as JSON."""
    (row,) = show_rows(pa.table({"": column.slice(position, 1)}))
    return row.removeprefix('{"": ').removesuffix("}")


def _pruned(value: object) -> object:
    """Without the keys that are missing, and with whole numbers as integers."""
    if isinstance(value, dict):
        return {str(k): _pruned(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_pruned(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _readable(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _missing(array: pa.Array) -> np.ndarray:
    return array.is_null().to_numpy(zero_copy_only=False)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _float_text(array: pa.Array) -> pa.Array:
    unique = array.dictionary_encode()
    texts = []
    for value in unique.dictionary.to_numpy(zero_copy_only=False):
        whole = abs(value) < _MAX_EXACT and value == int(value)
        texts.append(None if np.isnan(value) else str(int(value)) if whole else str(value))
    return pa.array(texts, pa.string()).take(unique.indices)


def _decimal_text(array: pa.Array) -> pa.Array:
    """As few digits as tell the value: 5.0000000000 is `5`, 1.50 is `1.5`."""
    try:
        return array.cast(pa.int64()).cast(pa.string())
    except pa.ArrowInvalid:  # fractions, or beyond 64 bits
        unique = array.dictionary_encode()
        texts = [f"{value:f}" for value in unique.dictionary.to_pylist()]
        texts = [t.rstrip("0").rstrip(".") if "." in t else t for t in texts]
        return pa.array(texts, pa.string()).take(unique.indices)


def _time_text(array: pa.Array) -> pa.Array:
    """The same digits whatever the unit; with a zone, the time in UTC and a `Z`."""
    kind = array.type
    is_zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    plain = array.view(pa.timestamp(kind.unit)) if is_zoned else array
    texts = pc.replace_substring_regex(plain.cast(pa.string()), r"(\.\d*?)0+$", r"\1")
    texts = pc.replace_substring_regex(texts, r"\.$", "")
    return pc.binary_join_element_wise(texts, "Z", "") if is_zoned else texts


def _counted(array: pa.Array, unit: str) -> pa.Array:
    """Times since 1970-01-01 in UTC, or since midnight, in one unit whatever theirs is."""
    stored = "ms" if pa.types.is_date(array.type) else "ns"
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp(stored))
    elif pa.types.is_time(array.type):
        array = array.cast(pa.time64(stored))
    else:
        stored = array.type.unit
    counts = array.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    # Microseconds in between: doubles hold them to the digit, nanoseconds not even by the hundred,
    # and times that are equal must be so in every unit.
    if stored == "ns":
        micros = counts // 1000 + counts % 1000 / 1000
    else:
        micros = counts * (1_000_000 / TICKS[stored])
    ratio = TICKS[unit] / 1_000_000
    values = micros * ratio if ratio >= 1 else micros / (1_000_000 // TICKS[unit])
    return pa.array(values, mask=_missing(array))


def _parsed(array: pa.Array) -> pa.Array:
    texts = to_text(array).values
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        texts = pc.if_else(pc.is_in(texts, value_set=_TRUE), "1", texts)
        texts = pc.if_else(pc.is_in(texts, value_set=_FALSE), "0", texts)
        numeric = pc.match_substring_regex(texts, _NUMBER)
        return pc.if_else(numeric, texts, pa.scalar(None, pa.string())).cast(pa.float64())
