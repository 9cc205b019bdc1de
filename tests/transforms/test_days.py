"""Days from texts, and the splits they fall into."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from transforms.days import OUT_OF_RANGE, Splits, parse_days

_DAY = datetime.date(2024, 2, 28)
_SPLITS = Splits(
    {
        "train": (_DAY, _DAY + datetime.timedelta(days=2)),
        "eval": (_DAY + datetime.timedelta(days=4), _DAY + datetime.timedelta(days=4)),
    }
)


def test_days_by_a_format():
    texts = pa.array(["20240228", None, "20240301", "20240230", "20240228", ""])
    days, bad = parse_days(texts, "%Y%m%d")
    first = _DAY.toordinal()
    assert days.tolist() == [first, 0, first + 2, 0, first, 0]
    assert bad.tolist() == [False, False, False, True, False, True]
    assert days.dtype == np.int32


def test_no_rows_have_no_days():
    days, bad = parse_days(pa.array([], pa.string()), "%Y%m%d")
    assert len(days) == len(bad) == 0


def test_splits():
    days = _DAY.toordinal() + np.arange(-1, 6)
    expected = [OUT_OF_RANGE, 0, 0, 0, OUT_OF_RANGE, 1, OUT_OF_RANGE]
    assert _SPLITS.of(days).tolist() == expected
    assert [(str(day), name) for day, name in _SPLITS.days.items()] == [
        ("2024-02-28", "train"),
        ("2024-02-29", "train"),
        ("2024-03-01", "train"),
        ("2024-03-03", "eval"),
    ]
