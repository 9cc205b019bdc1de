"""Days that arrive again."""

from __future__ import annotations

import datetime

from transforms.day_versions import DayVersion, last_columns, read_versions, record_day

_DAY = datetime.date(2024, 1, 5)


def _version(content, **changes):
    fields = {"rows": 3, "labels": {"click": 1.0}, "columns": {"user": ["text"]}, "open": False}
    return DayVersion(content, **{**fields, **changes})


def test_a_day_is_known_by_its_content(tmp_path):
    folder = str(tmp_path)
    assert read_versions(folder, _DAY) == []
    assert record_day(folder, _DAY, _version("a", open=True)) == [_version("a", open=True)]
    # The same rows, by now with a closed window.
    assert record_day(folder, _DAY, _version("a")) == [_version("a")]
    late = _version("b", rows=4, labels={"click": 2.0})
    assert record_day(folder, _DAY, late) == [_version("a"), late]
    assert record_day(folder, _DAY, _version("a")) == [_version("a"), late, _version("a")]
    assert read_versions(folder, _DAY) == [_version("a"), late, _version("a")]
    assert [p.name for p in tmp_path.glob("*.json")] == ["2024-01-05.json"]


def test_columns_of_the_last_day_before(tmp_path):
    folder = str(tmp_path)
    assert last_columns(folder, _DAY) is None
    for day in (3, 5):
        columns = {f"column{day}": ["text"]}
        record_day(folder, datetime.date(2024, 1, day), _version("a", columns=columns))
    record_day(folder, datetime.date(2024, 1, 4), _version("", rows=0, columns={}))
    assert last_columns(folder, _DAY) == {"column3": ["text"]}
    assert last_columns(folder, datetime.date(2024, 2, 1)) == {"column5": ["text"]}
    assert last_columns(folder, datetime.date(2024, 1, 3)) is None
