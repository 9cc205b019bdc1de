"""Duplicates against a plain model, and hashes that tell rows apart."""

from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.dedupe import duplicates, key_hashes, order_hashes, row_hashes

_cell = st.sampled_from(["", "a", "b", "ab"])
_rows = st.lists(st.tuples(_cell, _cell, st.none() | _cell), max_size=12)


@settings(max_examples=200, deadline=None)
@given(_rows)
def test_equals_a_plain_model(rows):
    keys_seen, rows_seen = set(), set()
    equal_rows, equal_keys = [], []
    for row in rows:
        equal_rows.append(row in rows_seen)
        equal_keys.append(row not in rows_seen and row[:2] in keys_seen)
        keys_seen.add(row[:2])
        rows_seen.add(row)

    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(3)]
    found = duplicates(columns[:2], row_hashes(pa.table(dict(zip("abc", columns, strict=True)))))
    assert found[0].tolist() == equal_rows
    assert found[1].tolist() == equal_keys


@settings(max_examples=100, deadline=None)
@given(_rows)
def test_rows_of_one_key_meet(rows):
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(2)]
    hashes = key_hashes(columns)
    by_key = {row[:2]: h for row, h in zip(rows, hashes, strict=True)}
    assert [by_key[row[:2]] for row in rows] == hashes.tolist()
    assert len(set(by_key.values())) == len(by_key)


def test_hashes_are_the_same_in_every_process():
    """The hash decides which rows meet on which worker, so it must not depend on a seed."""
    hashes = key_hashes([pa.array(["712", "é"]), pa.array(["1", ""])])
    assert hashes.tolist() == [9_455_780_107_551_180_320, 17_596_252_805_035_237_551]


def test_every_kind_of_cell_counts():
    base = {
        "text": pa.array(["a"]),
        "bytes": pa.array([b"\xff"]),
        "whole": pa.array([1]),
        "real": pa.array([0.5]),
        "flag": pa.array([True]),
        "day": pa.array([1], pa.date32()),
        "price": pa.array([decimal.Decimal("1.5")]),
        "list": pa.array([[1, 2]]),
        "coded": pa.array(["x"]).dictionary_encode(),
    }
    other = {
        "text": pa.array(["b"]),
        "bytes": pa.array([b"\xfe"]),
        "whole": pa.array([2]),
        "real": pa.array([0.25]),
        "flag": pa.array([False]),
        "day": pa.array([2], pa.date32()),
        "price": pa.array([decimal.Decimal("1.6")]),
        "list": pa.array([[1, 3]]),
        "coded": pa.array(["y"]).dictionary_encode(),
    }
    seen = {row_hashes(pa.table(base))[0]}
    for name, column in other.items():
        seen.add(row_hashes(pa.table({**base, name: column}))[0])
        seen.add(row_hashes(pa.table({**base, name: pa.nulls(1, column.type)}))[0])
    assert len(seen) == 1 + 2 * len(other)


def test_a_value_is_one_whatever_stores_it():
    """Else a day that is written again would be another one."""
    stored = [
        {"n": pa.array([7]), "t": pa.array([1_000], pa.timestamp("ms"))},
        {"n": pa.array([7.0]), "t": pa.array([1_000_000], pa.timestamp("us"))},
        {"n": pa.array([7], pa.uint8()), "t": pa.array([1], pa.timestamp("s")).dictionary_encode()},
    ]
    assert len({row_hashes(pa.table(columns))[0] for columns in stored}) == 1


def test_the_order_of_columns_does_not_count_but_their_names_do():
    table = pa.table({"a": ["1", "0"], "b": ["2", None]})
    swapped = pa.table({"b": table["b"], "a": table["a"]})
    renamed = pa.table({"b": table["a"], "a": table["b"]})
    np.testing.assert_array_equal(row_hashes(table), row_hashes(swapped))
    assert (row_hashes(table) != row_hashes(renamed)).all()
    assert row_hashes(table.select(["a"]))[1] == row_hashes(table)[1]


def test_zero_is_not_missing():
    values = pa.table({"x": pa.array([0, None, 0])})
    hashes = row_hashes(values)
    assert hashes[0] == hashes[2] != hashes[1]


def test_rows_of_a_request_are_side_by_side() -> None:
    rng = np.random.default_rng(0)
    requests = rng.integers(0, 40, 400).astype(str)
    events = np.arange(400).astype(str)
    keys = [pa.array(events), pa.array(requests)]
    hashes = order_hashes(keys, [pa.array(requests)])
    in_order = requests[np.argsort(hashes, kind="stable")]
    assert np.count_nonzero(in_order[1:] != in_order[:-1]) == 39
    assert len(np.unique(hashes)) == 400
    np.testing.assert_array_equal(order_hashes(keys, []), key_hashes(keys))
