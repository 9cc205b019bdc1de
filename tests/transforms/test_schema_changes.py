"""Columns that differ from one day to the next."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest

from transforms.row_reader import LogFile
from transforms.schema_changes import column_changes, stored_types, value_changes
from transforms.tally import Tally

_BEFORE = {"user": ["int64"], "play": ["int32"], "tab": ["string"], "note": []}


def _changes(columns, before=_BEFORE):
    changes = column_changes({"b": columns}, [LogFile(0, "b", "parquet", 2)], before)
    return [(c.kind, c.problem.found, c.problem.expected) for c in changes]


def test_nothing_changed():
    assert _changes(_BEFORE) == []
    assert _changes({**_BEFORE, "note": {"string"}, "user": set()}) == []
    assert _changes(_BEFORE, None) == []


@pytest.mark.parametrize(
    ("now", "kind", "found", "expected"),
    [
        ({"new": {"string"}}, "new_column", "a new column `new`", "the columns of before"),
        ({"play": {"int64"}}, "type_change", "column `play` widened: int64", "int32, as before"),
        ({"play": {"double"}}, "type_change", "column `play` widened: double", "int32, as before"),
        ({"play": {"int32", "double"}}, "type_change", "column `play` widened: double, int32", ""),
        ({"user": {"int32"}}, "type_change", "column `user` of another type: int32", "int64, as"),
        ({"user": {"string"}}, "type_change", "column `user` of another type: string", "int64, as"),
        ({"tab": {"int8"}}, "type_change", "column `tab` of another type: int8", "string, as"),
    ],
)
def test_a_change(now, kind, found, expected):
    ((found_kind, found_what, was),) = _changes({**_BEFORE, **now})
    assert (found_kind, found_what) == (kind, found)
    assert was.startswith(expected)


def test_a_column_gone():
    ((kind, found, _),) = _changes({c: t for c, t in _BEFORE.items() if c != "play"})
    assert (kind, found) == ("column_gone", "no column `play`")


def test_files_are_compared_with_the_earliest_day():
    days = {"a": 3, "b": 2, "c": 1, "d": 3}
    files = [LogFile(i, path, "parquet", day) for i, (path, day) in enumerate(days.items())]
    columns = {"c": {"x": {"int64"}}, "b": {"x": {"int64"}, "y": {"bool"}}, "d": {}}
    columns["a"] = columns["b"]
    (change,) = column_changes(columns, files, None)
    assert (change.problem.where, change.problem.found) == ("a, b", "a new column `y`")


def test_types_whatever_their_encoding():
    assert stored_types(pa.dictionary(pa.int32(), pa.large_string())) == {"string"}
    assert stored_types(pa.null()) == set()
    assert stored_types(pa.float64()) == {"double"}


def test_new_values(schema, splits):
    schema = dataclasses.replace(schema, enums=("tab", "item", "author"))
    tally = Tally()
    for split, value, rows in (("train", "1", 9), ("valid", "1", 3), ("eval", "7", 2)):
        tally.count("value", "tab", split, value, rows=rows)
    tally.count("no_enum", "item", rows=1)
    first, second = value_changes(tally, schema, splits)
    assert str(first.problem) == (
        "data.eval: found values of `tab` that data.train lacks: '7' in 2 rows; expected none."
    )
    assert second.problem.found == "`item`, of more than 1000 values"
    # A scenario may have any number of values.
    tally.count("no_enum", "tab", rows=1)
    assert len(value_changes(tally, schema, splits)) == 1
