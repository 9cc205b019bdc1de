"""Repeated events: the first of each event key stays.

An equal row (every column of the log as in an earlier row of the same key) and an equal
key with other columns that differ are both dropped, and counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.util import hash_array

from transforms.cells import is_scalar, nested_text, to_text

EVENT_BITS = 16
"""Lowest bits of an order hash, which only order the events of a request."""

_MAX_EXACT = float(1 << 53)
_FRACTION = np.uint64(0x9E3779B97F4A7C15)  # so that no fraction's bits are those of an integer
_NO_VALUE = np.uint64(0)


def key_hashes(columns: Sequence[pa.Array]) -> np.ndarray:
    """Hashes of event keys, the same in every process: which rows meet, and in what order.

    Args:
      columns: The key's columns as text, each [B].

    Returns:
      Hashes, uint64 [B].
    """
    hashes = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        hashes = mix(hashes + _cell_hashes(column))
    return hashes


def order_hashes(keys: Sequence[pa.Array], requests: Sequence[pa.Array]) -> np.ndarray:
    """Hashes that say which rows meet, and in what order: rows of one request side by side.

    Args:
      keys: The event key's columns as text, each [B].
      requests: Those of them that identify a request; with none, every event goes by itself.

    Returns:
      Hashes, uint64 [B]; all but `EVENT_BITS` of them are the request's.
    """
    events = key_hashes(keys)
    if not requests:
        return events
    low = np.uint64((1 << EVENT_BITS) - 1)
    return (key_hashes(requests) & ~low) | (events & low)


def row_hashes(table: pa.Table) -> np.ndarray:
    """Hashes of whole rows, whatever the order of their columns.

    Args:
      table: Rows, [B].

    Returns:
      Hashes, uint64 [B]. A missing value counts like a missing column.
    """
    hashes = np.zeros(table.num_rows, np.uint64)
    for name in table.column_names:
        cells = _cell_hashes(table.column(name).combine_chunks())
        salt = hash_array(np.array([name], object), categorize=False)[0]
        hashes += np.where(cells == _NO_VALUE, _NO_VALUE, mix(cells ^ salt))
    return hashes


def duplicates(keys: Sequence[pa.Array], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds rows to drop.

    Args:
      keys: The event key's columns as text, each [B], in the order that decides who is first.
      rows: Hashes of the whole rows, uint64 [B].

    Returns:
      Where a row equals an earlier one, bool [B]; where only its key does, bool [B].
    """
    frame = pd.DataFrame({i: column.to_pandas() for i, column in enumerate(keys)})
    repeated = frame.duplicated(keep="first").to_numpy()
    if not repeated.any():
        return repeated, repeated
    frame["row"] = rows  # compared within a key, where 64 bits cannot meet by chance
    equal_row = frame.duplicated(keep="first").to_numpy()
    return equal_row, repeated & ~equal_row


def _cell_hashes(column: pa.Array) -> np.ndarray:
    """Hash of every cell, `_NO_VALUE` where it is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) and kind != pa.float16():
        hashes = _number_hashes(column)
    else:
        if not is_scalar(kind):
            column = pa.array([None if v is None else nested_text(v) for v in column.to_pylist()])
        elif not (pa.types.is_string(kind) or pa.types.is_binary(kind)):
            column = to_text(column).values
        unique = column.cast(pa.binary()).dictionary_encode()
        values = unique.dictionary.to_numpy(zero_copy_only=False).astype(object)
        table = np.append(hash_array(values, categorize=False), _NO_VALUE)
        hashes = table[unique.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]
    return np.where(valid, np.maximum(hashes, np.uint64(1)), _NO_VALUE)


def _number_hashes(column: pa.Array) -> np.ndarray:
    """Hashes of numbers; whole ones have one hash, however their column stores them."""
    if pa.types.is_integer(column.type):
        whole = column.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        return mix(whole.view(np.uint64) + np.uint64(1))
    numbers = column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    is_whole = (np.abs(numbers) < _MAX_EXACT) & (numbers == np.floor(numbers))
    whole = np.where(is_whole, numbers, 0).astype(np.int64).view(np.uint64) + np.uint64(1)
    return mix(np.where(is_whole, whole, numbers.view(np.uint64) ^ _FRACTION))


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
