"""Rows of raw columns to serialized tf.Examples, as a model of ours takes them."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from serving.protos import Example

MISSING = b"\xff"
"""Stands for a missing text where a value has to stand, as a behaviour's or in a matrix."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Columns(NamedTuple):
    """What a model takes in a request.

    Args:
      text: Columns of text.
      numeric: Columns of numbers.
      histories: Those among them with a value for each of the user's last behaviours.
      matrices: Names of the columns by matrix of `rank`; empty where the model does not rank.
    """

    text: tuple[str, ...]
    numeric: tuple[str, ...]
    histories: tuple[str, ...] = ()
    matrices: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def serialized_example(where: str, row: Mapping[str, Any], columns: Columns) -> bytes:
    """A serialized tf.Example.

    Args:
      where: Names the row in errors.
      row: A text column takes str, bytes or an integer, a numeric one any finite number; None
        means missing, and as a number NaN does. A column of a history takes a list of such values,
        of which no number may be missing.
      columns: What the model takes.

    Raises:
      ValueError: if the row holds another column, or a value that its column does not take.
    """
    example = Example()
    for name, value in row.items():
        if name not in columns.text and name not in columns.numeric:
            known = ", ".join([*columns.text, *columns.numeric])
            raise ValueError(f"{where}: found the column {name}; expected columns among {known}")
        if value is None:
            continue
        if name in columns.numeric and name not in columns.histories:
            value = number(f"{where}, {name}", value)
            if math.isnan(value):
                continue
        entry = example.features.feature.add(key=name)
        values = [value]
        if name in columns.histories:
            if not isinstance(value, (list, tuple)):
                raise ValueError(f"{where}, {name}: found {value!r}; expected a list, oldest first")
            values = [MISSING if v is None and name in columns.text else v for v in value]
        if name in columns.text:
            entry.value.bytes_list.value.extend(text(f"{where}, {name}", v) for v in values)
        else:
            entry.value.float_list.value.extend(present(f"{where}, {name}", v) for v in values)
    serialized: bytes = example.SerializeToString()
    return serialized


def text(where: str, value: Any) -> bytes:
    """A text column's value as it is sent.

    Raises:
      ValueError: if it is no text and no integer.
    """
    if isinstance(value, bytes):
        return value
    if _is(numbers.Integral, value):
        return str(int(value)).encode()
    if isinstance(value, str):
        with contextlib.suppress(UnicodeEncodeError):
            return value.encode()
    raise ValueError(f"{where}: found {value!r}; expected text or an integer, or None if missing")


def number(where: str, value: Any) -> float:
    """A numeric column's value as it is sent: NaN if it is missing.

    Raises:
      ValueError: if it is neither missing nor a finite float32.
    """
    if value is None or (_is(numbers.Real, value) and math.isnan(value)):
        return math.nan
    return present(where, value, ", or None if missing")


def present(where: str, value: Any, otherwise: str = "") -> float:
    """A numeric value that may not be missing, as a behaviour's.

    Args:
      where: Names it in errors.
      value: The value.
      otherwise: What else the error says may be expected.

    Raises:
      ValueError: if it is no finite float32.
    """
    # A NaN is not less than anything.
    if _is(numbers.Real, value) and abs(value) <= _FLOAT32_MAX:
        return float(value)
    raise ValueError(f"{where}: found {value!r}; expected a finite float32{otherwise}")


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
