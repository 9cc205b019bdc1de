"""What a tally says: counts that add up, and what makes logs unusable."""

from __future__ import annotations

import pytest

from transforms.ingest_outcome import (
    days_without_rows,
    ingest_counts,
    too_many_rejected,
    unusable,
)
from transforms.problems import Problem
from transforms.row_reader import LogFile
from transforms.tally import Example, Tally

_FILES = [LogFile(0, "a.csv", "csv"), LogFile(1, "b.csv", "csv")]


def _tally() -> Tally:
    """100 rows: 7 duplicates, 12 rejected, 11 of other days, 70 kept."""
    tally = Tally()
    tally.count("read", "a.csv", rows=100)
    tally.count("duplicates", "equal_rows", rows=4)
    tally.count("duplicates", "equal_keys", rows=3)
    for i, rows in enumerate((1, 5, 4, 2)):
        tally.count("rejected", f"reason {i}", rows=rows, example=Example(0, i + 2, f"raw {i}"))
    tally.count("out_of_range", "2023-12-30", rows=1)
    tally.count("out_of_range", "2023-12-31", rows=10)
    tally.count("split", "train", rows=60)
    tally.count("split", "eval", rows=10)
    tally.count("day", "2024-01-01", rows=60)
    tally.count("day", "2024-01-05", rows=10)
    tally.count("scenario", "1", rows=70)
    return tally


def test_counts(schema, splits):
    counts = ingest_counts(_tally(), _FILES, (), schema, splits)
    reasons = counts.pop("reasons")
    assert counts == {
        "read": 100,
        "duplicates": 7,
        "equal_rows": 4,
        "equal_keys": 3,
        "earlier_days": 0,
        "rejected": 12,
        "out_of_range": 11,
        "train": 60,
        "valid": 0,
        "eval": 10,
        "scenarios": {"1": 70},
        "other_scenario_rows": 0,
        "outside": {},
        "filled": {},
        "unmatched": {"items": 0},
        "clock": {"skewed": 0, "other_day": 0},
        "files": [{"path": "a.csv", "rows": 100}, {"path": "b.csv", "rows": 0}],
        "days": {"2024-01-01": 60, "2024-01-02": 0, "2024-01-03": 0, "2024-01-05": 10},
        "empty_days": ["2024-01-02", "2024-01-03"],
    }
    assert [r["rows"] for r in reasons] == [5, 4, 2, 1]
    assert reasons[0] == {"reason": "reason 1", "rows": 5, "example": "a.csv, row 3: raw 1"}


def test_lost_rows_are_an_error(schema, splits):
    tally = _tally()
    tally.counts["split", "train"] -= 1
    with pytest.raises(RuntimeError, match="100 rows were read, but accounted for are"):
        ingest_counts(tally, _FILES, (), schema, splits)


def test_the_three_commonest_reasons_are_named():
    assert too_many_rejected(_tally(), _FILES, 0.12, "") == []
    (problem,) = too_many_rejected(_tally(), _FILES, 0.1, "Look there.")
    assert str(problem) == (
        "the log: found 12 of 100 rows (12.0%) that cannot be used: "
        "5 because reason 1 (a.csv, row 3: raw 1); 4 because reason 2 (a.csv, row 4: raw 2); "
        "2 because reason 3 (a.csv, row 5: raw 3); expected at most 10.0% of them, as "
        "data.max_rejected_fraction says. Look there."
    )


def test_days_without_rows(splits):
    problems = days_without_rows(_tally(), splits)
    assert [p.where for p in problems] == ["data.train", "data.valid"]
    assert str(problems[0]) == (
        "data.train: found no usable row of 2024-01-02 in the log; expected rows on every day of "
        "the split. Its other rows are of 2023-12-30 to 2023-12-31. Where a day has none, as a "
        "closed day may, set data.empty_days to warn."
    )
    (problem,) = days_without_rows(_tally(), splits, may_be_empty=True)
    assert str(problem) == (
        "data.valid: found no usable row of 2024-01-03 in the log; expected rows on a day of the "
        "split. Its other rows are of 2023-12-30 to 2023-12-31."
    )


def test_a_column_is_of_the_wrong_type_when_all_its_cells_are(schema):
    tally = Tally()
    for path, cells, bad in (("a", 20, 20), ("b", 30, 30), ("c", 30, 29), ("d", 19, 19)):
        what = (path, "age", "a number")
        tally.count("cells", *what, rows=cells)
        tally.count("bad_cells", *what, rows=bad, example=Example(0, 9, '"x"'))
    assert [str(p) for p in unusable(tally, schema, {})] == [
        'a, b: found nothing in column `age` that is a number (in row 9: "x"); expected a number '
        "in every row, for features.numeric."
    ]


def test_problems_of_files_are_said_with_those_of_columns(schema):
    tally = Tally(problems={Problem("z.csv", "nothing", "something")})
    tally.columns["a.csv"] = dict.fromkeys(set(schema.uses) - {"clicked"}, set())
    tally.columns["empty.jsonl"] = {}
    said = [p.where for p in unusable(tally, schema, {})]
    assert said == ["a.csv", "z.csv"]
