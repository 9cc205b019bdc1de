"""Cells as text and as numbers, whatever type a file stored them in."""

from __future__ import annotations

import datetime
import decimal
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.cells import is_scalar, show_cell, show_rows, to_number, to_text
from transforms.clock import TICKS

_IDS = ["5", "0", "-100"]
_INSTANT = datetime.datetime(2024, 1, 1, 10, 0, 0, 120_000)
_NS = pa.timestamp("ns")


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (pa.array([7, None, 0]), ["7", None, "0"]),
        (pa.array([7.0, None, 0.0, math.nan, -3.0]), ["7", None, "0", None, "-3"]),
        (pa.array([7.5, 2.0, 1e300]), ["7.5", "2", "1e+300"]),
        (pa.array([0.1, 16777217.0], pa.float32()), ["0.1", "16777216"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["", "é", None]), ["", "é", None]),
        (pa.array([b"x", None]), ["x", None]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([datetime.date(2022, 4, 25)]), ["2022-04-25"]),
        (pa.array([datetime.date(2022, 4, 25)], pa.date64()), ["2022-04-25"]),
        (pa.array([decimal.Decimal("1.50")]), ["1.5"]),
        (pa.array(map(decimal.Decimal, ("5", "0", "-100")), pa.decimal128(38, 10)), _IDS),
        (pa.array(map(decimal.Decimal, ("5", "0", "-100")), pa.decimal256(50, 0)), _IDS),
        (pa.array([decimal.Decimal("1" * 28 + ".10"), None]), ["1" * 28 + ".1", None]),
        (pa.array([decimal.Decimal("5.00")]).dictionary_encode(), ["5"]),
        (pa.array([_INSTANT], pa.timestamp("us")), ["2024-01-01 10:00:00.12"]),
        (pa.array([_INSTANT], pa.timestamp("ns")), ["2024-01-01 10:00:00.12"]),
        (pa.array([_INSTANT], pa.timestamp("ms")).dictionary_encode(), ["2024-01-01 10:00:00.12"]),
        (pa.array([_INSTANT], pa.timestamp("s")), ["2024-01-01 10:00:00"]),
        (pa.array([_INSTANT], pa.timestamp("us", "Asia/Shanghai")), ["2024-01-01 10:00:00.12Z"]),
        (pa.array([_INSTANT, None], pa.timestamp("s", "+08:00")), ["2024-01-01 10:00:00Z", None]),
        (pa.array([datetime.time(10, 0, 0, 500_000)], pa.time64("ns")), ["10:00:00.5"]),
        (pa.nulls(2), [None, None]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
    ],
)
def test_text(stored, text):
    cells = to_text(stored)
    assert cells.values.to_pylist() == text
    assert cells.values.type == pa.string()
    assert cells.bad is None


def test_text_that_is_not_utf8_is_bad():
    cells = to_text(pa.array([b"ok", b"\xff", None]))
    assert cells.values.to_pylist() == ["ok", None, None]
    assert cells.bad.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("stored", "numbers", "bad"),
    [
        (pa.array(["0", "-1.5", None, "1e3"]), [0.0, -1.5, None, 1000.0], None),
        (pa.array(["1", "x", None, "NaN"]), [1.0, None, None, None], [0, 1, 0, 0]),
        (pa.array(["1", "inf", "1e999"]), [1.0, None, None], [0, 1, 1]),
        (pa.array(["", " 1", "0x10", "1_0", "+1"]), [None] * 5, [1] * 5),
        (pa.array(["true", "False", "TRUE", "yes"]), [1.0, 0.0, 1.0, None], [0, 0, 0, 1]),
        (pa.array([0, None]), [0.0, None], None),
        (pa.array([(1 << 62) + 1]), [float(1 << 62)], None),
        (pa.array([0.0, math.nan, -math.inf]), [0.0, None, None], [0, 0, 1]),
        (pa.array([True, False]), [1.0, 0.0], None),
        (pa.array([datetime.date(1970, 1, 3)]), [172_800.0], None),
        (pa.array([datetime.date(1970, 1, 3), None], pa.date64()), [172_800.0, None], None),
        (pa.array([datetime.time(10, 0, 0, 500_000)], pa.time64("us")), [36_000.5], None),
        (pa.array([36_000], pa.time32("s")), [36_000.0], None),
        (pa.array([5], pa.timestamp("ms")), [0.005], None),
        (pa.array([b"1", b"\xff"]), [1.0, None], [0, 1]),
        (pa.array([decimal.Decimal("1.50")]), [1.5], None),
        (pa.array([decimal.Decimal("0.1234567891")], pa.decimal128(38, 10)), [0.1234567891], None),
        (pa.nulls(1), [None], None),
    ],
)
def test_numbers(stored, numbers, bad):
    cells = to_number(stored)
    assert cells.values.to_pylist() == numbers
    assert cells.values.type == pa.float64()
    assert (cells.bad if bad is None else cells.bad.tolist()) == bad


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@settings(max_examples=60, deadline=None)
@given(st.integers(-(1 << 52), 1 << 52))
def test_an_instant_is_one_number_whatever_stores_it(unit, micros):
    exact = float(Fraction(micros, 1_000_000) * TICKS[unit])
    for scale, stored in ((1, "us"), (1000, "ns")):
        for zone in (None, "Asia/Shanghai"):
            column = pa.array([micros * scale], pa.timestamp(stored, zone))
            assert to_number(column, unit).values.to_pylist() == [exact]
    whole = to_number(pa.array([micros // 1_000_000], pa.timestamp("s")), unit).values[0].as_py()
    assert whole == micros // 1_000_000 * TICKS[unit]


def test_nanoseconds_stay_in_order():
    times = to_number(pa.array([1_704_067_200_000_000_000 + i * 500 for i in range(4)], _NS)).values
    assert (np.diff(times.to_numpy()) > 0).all()


def test_cells_for_people():
    table = pa.table({"a": [b"\xff", None], "b": [0, 1], "c": [[1.5], []]})
    assert show_rows(table) == [
        '{"a": "\ufffd", "b": 0, "c": [1.5]}',
        '{"a": null, "b": 1, "c": []}',
    ]
    assert show_cell(table.column("a"), 0) == '"\ufffd"'
    invalid = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    assert show_cell(invalid, 0) == '"\ufffd"'


def test_lists_are_no_cells():
    assert not is_scalar(pa.list_(pa.int64()))
    assert not is_scalar(pa.list_(pa.int64(), 2))
    assert not is_scalar(pa.struct([]))
    assert is_scalar(pa.string())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0123456789.-+eE_xnaif ٣", max_size=6), min_size=1, max_size=6))
def test_a_bad_neighbour_changes_nothing(texts):
    """A column with a bad cell takes the slow way, which must agree with the fast one."""
    together = to_number(pa.array([*texts, "bad"]))
    for i, text in enumerate(texts):
        alone = to_number(pa.array([text]))
        assert together.values[i].as_py() == alone.values[0].as_py()
        assert together.bad[i] == (alone.bad is not None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=8))
def test_numbers_survive_their_text(values):
    stored = pa.array(values, pa.float64())
    again = to_number(to_text(stored).values).values
    np.testing.assert_array_equal(
        again.to_numpy(zero_copy_only=False), stored.to_numpy(zero_copy_only=False)
    )
