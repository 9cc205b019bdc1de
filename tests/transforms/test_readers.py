"""Readers: every format, broken lines one by one, damaged files as a whole."""

from __future__ import annotations

import gzip
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.cells import is_scalar, to_number, to_text
from transforms.dedupe import row_hashes
from transforms.json_lines import read_json_lines
from transforms.problems import InputError
from transforms.readers import Block, file_format, parse_block, read_blocks, read_head


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


def _plain_fields(line: str) -> list[str] | None:
    """The fields of a line of CSV, by the rules alone; None if a quote is not closed."""
    fields, field, quoted, i = [], "", False, 0
    at_start = True
    while i < len(line):
        c = line[i]
        if quoted and line[i : i + 2] == '""':
            field, i = field + '"', i + 1
        elif quoted and c == '"':
            quoted = False
        elif at_start and c == '"':
            quoted, at_start = True, False
        elif c == "," and not quoted:
            fields, field, at_start = [*fields, field], "", True
        else:
            field, at_start = field + c, False
        i += 1
    return None if quoted else [*fields, field]


_WIDE = "x" * 200_000  # beyond the csv module's own limit


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab",é\0', min_size=1, max_size=8), min_size=1, max_size=5))
@example(['a,b"', "1,2"])
@example(['"a"b,"c', "1,2"])
@example(["a\0,b"])
@example(["a\0,b", "broken"])
@example([f"{_WIDE},b", "broken"])
@example([f"{_WIDE},b"])
def test_a_line_of_csv_is_read_by_itself(lines):
    expected, reasons = [], []
    for i, line in enumerate(lines):
        fields = _plain_fields(line)
        if "\0" in line:
            reasons.append((i + 2, "the line holds a null byte"))
        elif fields is None:
            reasons.append((i + 2, "a quote is not closed"))
        elif len(fields) != 2:
            reasons.append((i + 2, "wrong number of fields, not 2"))
        else:
            a, b = (field or None for field in fields)
            expected.append((i + 2, {"a": a, "b": b}))
    rows, broken = _read("\n".join(["a,b", *lines]).encode(), "x.csv")
    assert rows == expected
    assert [(b.row, b.reason) for b in broken] == reasons


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
        b'{"id": 1, "x": 2, "x": 3}',
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
        (9, 'the line has the key "x" more than once'),
    ]


_values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([1 << 53, (1 << 53) + 1, 1 << 63, -(1 << 63), 1 << 64, 10**400])
    | st.sampled_from([7.0, -0.0, 0.5, 1e-05, 1e16, 1e300, math.nan, math.inf])
    | st.sampled_from(["", "7", "7.0", "true", "2022-04-25", "2022-04-25 10:00:00", "é", "\0"])
    | st.lists(st.integers(0, 2), max_size=2)
    | st.fixed_dictionaries({}, optional={"p": st.just(1), "q": st.just("x")})
)
_json = st.fixed_dictionaries({}, optional={"a": _values, "b": _values}).map(json.dumps)
_broken = st.sampled_from(["{", '{"a": 1', "1}", '{"a": 1}{"a":', '{"a": 1, "a": 2}', "\ufeff{}"])
_line = _json | _json | _json | _broken


def _meaning(raw) -> dict[int, tuple]:
    """What each row says, by its number: every column's text, number, and whether it is neither."""
    rows = {int(n): () for n in raw.numbers}
    for name in sorted(raw.table.column_names):
        column = raw.table.column(name)
        nested = raw.nested.get(name, np.zeros(len(column), bool))
        if not is_scalar(column.type):
            nested, column = column.is_valid().to_numpy(), pa.nulls(len(column))
        text, number = to_text(column), to_number(column)
        for i, row in enumerate(rows):
            value = text.values[i].as_py()
            if nested[i]:
                rows[row] += ((name, "nested"),)
            elif value is not None or number.bad is not None and number.bad[i]:
                is_bad = number.bad is not None and bool(number.bad[i])
                rows[row] += ((name, value, number.values[i].as_py(), is_bad),)
    return rows


@settings(max_examples=500, deadline=None)
@given(st.lists(_line, min_size=1, max_size=5))
@example(['{"a": true}', '{"a": 0}'])
@example(['{"a": 1}{"b":', "2}"])
@example(['{"a": 1e-05}', '{"a": "x"}'])
def test_a_line_of_json_is_read_by_itself(lines):
    together = read_json_lines("\n".join(lines).encode(), 1)
    expected, broken = {}, []
    for i, line in enumerate(lines):
        alone = read_json_lines(line.encode(), i + 1)
        expected |= _meaning(alone)
        broken += alone.broken
    assert _meaning(together) == expected
    assert list(together.broken) == broken


_real = st.integers(-3, 3) | st.sampled_from([7.0, -0.0, 0.5, 1e300]) | st.none()
_object = st.fixed_dictionaries({}, optional={"p": _real, "q": st.just("x")})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"n": _real, "t": st.text("ab", max_size=2), "o": _object}).map(
            json.dumps
        )
        | st.just("broken"),
        min_size=2,
        max_size=5,
    )
)
def test_neighbours_of_other_types_do_not_change_the_hash_of_a_row(lines):
    """Else a day that arrives again with a broken line more would be another version."""
    together = row_hashes(read_json_lines("\n".join(lines).encode(), 1).table)
    alone = [row_hashes(read_json_lines(line.encode(), 1).table) for line in lines]
    assert together.tolist() == np.concatenate(alone).tolist()


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


def test_tsv_is_csv_with_tabs():
    lines = [b"a\tb:token", b"1,5\tx", b'"2\t"\t', b"3", b""]
    expected = [(2, {"a": "1,5", "b:token": "x"}), (3, {"a": "2\t", "b:token": None})]
    assert _read(b"\n".join([*lines[:3], b""]), "x.tsv") == (expected, [])
    rows, (broken,) = _read(b"\n".join(lines), "x.tsv")
    assert rows == expected, "one line at a time"
    assert broken.reason == "wrong number of fields, not 2"
    assert _read(gzip.compress(b"\n".join(lines[:3])), "x.tsv.gz") == (expected, [])


@pytest.mark.parametrize("path", ["x.csv", "x.csv.gz", "x.jsonl"])
def test_a_file_without_a_byte_is_one_without_rows(path):
    assert _read(b"", path) == ([], [])


@pytest.mark.parametrize("size", [3, 1 << 20])
def test_a_byte_order_mark_takes_no_row_of_json(size):
    data = b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n'
    expected = ([(1, {"a": 1}), (2, {"a": 2})], [])
    assert _read(data, "x.jsonl", size) == expected
    assert _read(gzip.compress(data), "x.jsonl.gz", size) == expected


def test_the_head_of_a_file_tells_its_columns():
    table = pa.table({"a": [1], "b": ["x"]})
    head = read_head(io.BytesIO(_parquet(table)), "x.parquet", "parquet")
    assert (head.table.schema, head.table.num_rows) == (table.schema, 0)
    head = read_head(io.BytesIO(b"a,b\n1,x\n"), "x.csv", "csv")
    assert head.table.to_pylist() == [{"a": "1", "b": "x"}]


_TWO_ALIKE = _parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
_GZ = gzip.compress(b"a,b\n" + b"1,2\n" * 5000, mtime=0)


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("x.csv.gz", _GZ[:-20], "found a gzip file that is cut short"),
        ("x.csv.gz", _GZ[:-8] + bytes(8), "found damaged gzip"),
        ("x.csv.gz", b"a,b\n1,2\n", "found damaged gzip"),
        ("x.csv", b"\n1,2\n", "found no column names in its first line"),
        (
            "x.csv",
            b"a:token\tb:token\n",
            r"found tabs between the columns of its first line, 'a:token.tb:token'; expected "
            r"commas in a CSV file. Set data.format: tsv, or name such files \*.tsv",
        ),
        ("x.csv", b"a;b\n", "found semicolons between.*Write it again with commas, or as Parquet"),
        (
            "x.tsv",
            b"a,b\n",
            "found commas between.*expected tabs in a TSV file. Set data.format: csv",
        ),
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
