"""Joined tables: values, rows without a match, and tables that cannot be used."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.enrich import join, load_side_table
from transforms.problems import InputError


def _load(schema, **files: bytes):
    paths = [name.replace("_", ".", 1) for name in files]
    stored = dict(zip(paths, files.values(), strict=True))
    return load_side_table(schema, "items", paths, "auto", lambda path: io.BytesIO(stored[path]))


def test_join(schema):
    table = _load(
        schema,
        a_csv=b"item,author,duration,x\n1,a,0\x2c\n2,,2.5,\n",
        b_csv=b"item,author,duration\n3,c,",
    )
    assert table.columns == ("author", "duration", "x")
    joined, unmatched = join(pa.array(["3", "1", "9", None, "2", "1"]), table)
    assert set(joined) == {"text:author", "number:duration"}
    assert joined["text:author"].to_pylist() == ["c", "a", None, None, None, "a"]
    assert joined["number:duration"].to_pylist() == [None, 0.0, None, None, 2.5, 0.0]
    np.testing.assert_array_equal(unmatched, [False, False, True, True, False, False])


def test_a_column_may_be_text_and_number(schema):
    joined, _ = join(pa.array(["1"]), _load(schema, a_csv=b"item,tab\n1,07\n"))
    assert joined["text:tab"].to_pylist() == ["07"]
    assert joined["number:tab"].to_pylist() == [7.0]


def test_keys_of_a_column_with_gaps_are_still_integers(schema):
    """pandas stores such a column as 7.0 in Parquet."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"item": [7.0, 8.0], "author": [1.0, None]}), sink)
    joined, unmatched = join(pa.array(["7"]), _load(schema, a_parquet=sink.getvalue()))
    assert not unmatched.any()
    assert joined["text:author"].to_pylist() == ["1"]


def test_a_part_without_a_byte(schema):
    table = _load(schema, a_csv=b"", b_csv=b"item,author\n3,c")
    assert table.rows.to_pylist() == [{"key": "3", "text:author": "c"}]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a_csv": b"", "b_jsonl": b""}, "a.csv, b.jsonl: found no rows; expected rows, for"),
        (
            {"a_csv": b"item,author\n1,a\n2,b\n", "b_csv": b"item,author\n2,c\n"},
            r"a.csv: found 1 values of `item` more than once \('2' 2 times\); expected each",
        ),
        ({"a_csv": b"itm,author\n1,a\n"}, "a.csv: found no column `item`.*Did you mean `itm`?"),
        ({"a_csv": b"item,author\n,a\n"}, "a.csv, row 2: found no `item`"),
        ({"a_csv": b"item,author\n1,a,b\n"}, "a.csv, row 2: found wrong number of fields"),
        (
            {"a_csv": b"item,duration\n1,long\n"},
            'a.csv, row 2: found "long" in `duration`; expected numbers, for tasks.long.label',
        ),
        (
            {"a_csv": b"item,author\n1,a\n", "b_csv": b"item\n2\n"},
            "b.csv: found no column `author`, which other files of table items have",
        ),
        (
            {"a_jsonl": b'{"item": 1, "author": [1]}\n{"item": 2, "author": [2]}'},
            "a.jsonl: found `author` of type list",
        ),
        (
            {"a_jsonl": b'{"item": 1, "author": "x"}\n{"item": 2, "author": [2]}\n'},
            r'a.jsonl, row 2: found "\[2\]" in `author`; expected single texts',
        ),
        ({"a_csv_gz": b"no gzip"}, "a.csv.gz: found damaged gzip"),
    ],
)
def test_a_table_that_cannot_be_used(schema, files, said):
    named = {name.replace("_gz", ".gz"): data for name, data in files.items()}
    with pytest.raises(InputError, match=said):
        _load(schema, **named)


def test_all_faults_are_said_at_once(schema):
    with pytest.raises(InputError) as caught:
        _load(schema, a_csv=b"item,duration\n1,x\n2,y\n", b_csv=b"\n")
    assert len(caught.value.problems) == 3
