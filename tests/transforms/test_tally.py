"""Tallies add up however the work was spread, and survive their text."""

from __future__ import annotations

import random

from transforms.problems import Problem
from transforms.tally import Example, Tally, total


def _parts() -> list[Tally]:
    parts = []
    for file in range(3):
        for row in range(2):
            tally = Tally()
            tally.count("read", f"f{file}", rows=10)
            tally.count("rejected", "odd", rows=row, example=Example(file, row, "é"))
            tally.columns[f"f{file}"] = {"a": {f"t{row}"}, f"b{row}": set()}
            tally.problems.add(Problem("f", "x", "y"))
            parts.append(tally)
    return parts


def test_the_sum_does_not_depend_on_the_order():
    expected = total(_parts())
    assert expected.of("read") == {"f0": 20, "f1": 20, "f2": 20}
    assert expected.of("rejected") == {"odd": 3}
    assert expected.examples["rejected", "odd"] == Example(0, 1, "é")
    assert expected.columns["f1"] == {"a": {"t0", "t1"}, "b0": set(), "b1": set()}
    assert expected.problems == {Problem("f", "x", "y")}
    for seed in range(5):
        parts = _parts()
        random.Random(seed).shuffle(parts)
        assert total([total(parts[:2]), total(parts[2:])]) == expected


def test_it_survives_its_text():
    tally = total(_parts())
    assert Tally.from_json(tally.to_json()) == tally


def test_no_rows_leave_no_trace():
    tally = Tally()
    tally.count("rejected", "odd", rows=0, example=Example(0, 1, "x"))
    assert tally == Tally()
