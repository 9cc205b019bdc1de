"""Readers: every format, broken lines one by one, damaged files as a whole."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.problems import InputError
from transforms.readers import Block, file_format, parse_block, read_blocks


def _read(data: bytes, path: str, block_bytes: int = 1 << 20):
    """Rows as dicts with their numbers, and the broken rows, over all blocks."""
    rows, broken = [], []
    for block in read_blocks(io.BytesIO(data), path, file_format(path), block_bytes):
        raw = parse_block(block, lambda _: io.BytesIO(data))
        rows += zip(raw.numbers.tolist(), raw.table.to_pylist(), strict=True)
        broken += raw.broken
    return rows, broken


def _parquet(table: pa.Table, **kwargs) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **kwargs)
    return sink.getvalue()


def test_csv_keeps_zeros_and_takes_an_empty_cell_as_missing():
    rows, broken = _read(b'a,b\n0,0.0\n,""\nNA, x\n', "x.csv")
    assert rows == [
        (2, {"a": "0", "b": "0.0"}),
        (3, {"a": None, "b": None}),
        (4, {"a": "NA", "b": " x"}),
    ]
    assert not broken


@pytest.mark.parametrize("size", [3, 7, 1 << 20])
def test_csv_is_the_same_in_blocks_of_any_size(size):
    data = b'\xef\xbb\xbfid,text\r\n1,"a, ""b"""\r\n\r\n2,\xc3\xa9\r\n3,z'
    rows, broken = _read(data, "x.csv", size)
    assert rows == [
        (2, {"id": "1", "text": 'a, "b"'}),
        (4, {"id": "2", "text": "é"}),
        (5, {"id": "3", "text": "z"}),
    ]
    assert not broken
    assert _read(gzip.compress(data), "x.csv.gz", size) == (rows, broken)


def test_a_broken_line_takes_no_other_line_with_it():
    lines = [b"1,a", b'2,"b', b"3,c", b"4", b"5,d,e", b"\xff,f", b'"6",g', b'7,"h"i', b"8\r8,j"]
    rows, broken = _read(b"id,text\n" + b"\n".join(lines), "x.csv")
    assert [(n, r["id"], r["text"]) for n, r in rows] == [
        (2, "1", "a"),
        (4, "3", "c"),
        (8, "6", "g"),
        (9, "7", "hi"),
    ]
    assert [(b.row, b.reason) for b in broken[:4]] == [
        (3, "a quote is not closed"),
        (5, "wrong number of fields, not 2"),
        (6, "wrong number of fields, not 2"),
        (7, "the line is not UTF-8"),
    ]
    assert broken[4].row == 10 and "not CSV" in broken[4].reason
    assert broken[0].raw == '2,"b'


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b), max_size=8))
def test_every_line_is_a_row_or_broken(lines):
    data = b"a,b\n" + b"".join(line + b"\n" for line in lines)
    rows, broken = _read(data, "x.csv")
    expected = [i + 2 for i, line in enumerate(lines) if line not in (b"", b"\r")]
    assert sorted([n for n, _ in rows] + [b.row for b in broken]) == expected
    rows, broken = _read(data, "x.jsonl")
    expected = [i + 2 for i, line in enumerate(lines) if line.strip()]
    assert sorted([n for n, _ in rows] + [b.row for b in broken]) == [1, *expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text('ab",é', max_size=4), min_size=2, max_size=2))
def test_a_broken_neighbour_changes_no_row_of_csv(fields):
    line = ",".join(fields).encode()
    alone, broken_alone = _read(b"a,b\n" + line, "x.csv")
    beside, broken_beside = _read(b"a,b\n" + line + b"\nbroken", "x.csv")
    assert beside == alone
    assert broken_beside[:-1] == broken_alone


def test_json_lines():
    data = b'{"a": 1, "b": "2022-04-25", "c": 0.0}\n\n{"a": 2, "c": null, "d": ""}\n'
    rows, broken = _read(data, "x.jsonl")
    assert [n for n, _ in rows] == [1, 3]
    assert rows[0][1] == {"a": 1, "b": "2022-04-25", "c": 0.0, "d": None}
    assert rows[1][1] == {"a": 2, "b": None, "c": None, "d": ""}
    assert not broken
    assert _read(gzip.compress(data), "x.jsonl.gz") == (rows, broken)


def test_json_lines_that_are_broken_or_of_mixed_types():
    lines = [
        b'{"id": 7, "x": 0.0}',
        b'{"id": "8", "x": true}',
        b"{",
        b"[1]",
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"id": 7.0, "x": [0]}{}',
        b'{"id": 12345678901234567890, "x": [0]}',
    ]
    rows, broken = _read(b"\n".join(lines), "x.jsonl")
    assert [(n, r["id"], r["x"]) for n, r in rows] == [
        (1, "7", "0"),
        (2, "8", "true"),
        (8, "12345678901234567890", "[0]"),
    ]
    assert [(b.row, b.reason) for b in broken] == [
        (3, "the line is not JSON"),
        (4, "the line is not a JSON object"),
        (5, "the line is not UTF-8"),
        (6, "the line is not UTF-8"),
        (7, "the line is not JSON"),
    ]


def test_json_lists_among_single_values_are_marked():
    raw = parse_block(Block("x", "jsonl", 1, (), b'{"a": 1}\n{"a": [2]}'), open)
    assert raw.nested["a"].tolist() == [False, True]


def test_json_integers_are_never_floats():
    """One huge integer makes Arrow read the column as doubles."""
    rows, _ = _read(b'{"id": 12345678901234567890}\n{"id": 7}\n', "x.jsonl")
    assert [r["id"] for _, r in rows] == ["12345678901234567890", "7"]


def test_parquet_by_row_groups():
    table = pa.table({"a": [0, None, 2], "b": ["", None, "x"]})
    data = _parquet(table, row_group_size=2)
    blocks = list(read_blocks(io.BytesIO(data), "x.parquet", "parquet"))
    assert [(b.first_row, b.row_group) for b in blocks] == [(1, 0), (3, 1)]
    rows, _ = _read(data, "x.parquet")
    assert rows == list(zip([1, 2, 3], table.to_pylist(), strict=True))


def test_a_csv_file_without_rows_still_tells_its_columns():
    (block,) = read_blocks(io.BytesIO(b"a,b\n"), "x.csv", "csv")
    raw = parse_block(block, open)
    assert raw.table.column_names == ["a", "b"]
    assert raw.table.num_rows == 0


_TWO_ALIKE = _parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
_GZ = gzip.compress(b"a,b\n" + b"1,2\n" * 5000, mtime=0)


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("x.csv.gz", _GZ[:-20], "found a gzip file that is cut short"),
        ("x.csv.gz", _GZ[:-8] + bytes(8), "found damaged gzip"),
        ("x.csv.gz", b"a,b\n1,2\n", "found damaged gzip"),
        ("x.csv", b"", "found no column names in its first line"),
        ("x.csv", b"a,a\n", "found column `a` more than once"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), "first line that is not UTF-8"),
        ("x.csv", b"a,b\r1,2\r", "lines that end in a carriage return alone"),
        ("x.parquet", b"a,b\n1,2\n", "found damaged Parquet"),
        ("x.parquet", _TWO_ALIKE, "found column `a` more than once"),
        ("x.parquet", _parquet(pa.table({"a": [1]}))[:-30], "found damaged Parquet"),
        ("x.txt", b"", "name that does not tell the format"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(path, data, said):
    with pytest.raises(InputError, match=said) as caught:
        _read(data, path)
    assert caught.value.problems[0].where == path


def test_damage_inside_a_row_group_is_named():
    data = bytearray(_parquet(pa.table({"a": [json.dumps(i) for i in range(1000)]})))
    data[20:60] = bytes(40)
    with pytest.raises(InputError, match="x.parquet: found damaged Parquet"):
        _read(bytes(data), "x.parquet")


def test_a_failing_disk_is_no_bad_input():
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    for path in ("x.csv.gz", "x.parquet"):
        with pytest.raises(OSError, match="Input/output error"):
            list(read_blocks(Failing(b"12345678"), path, file_format(path)))
