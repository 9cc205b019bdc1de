"""What becomes of raw rows: typed, joined and labelled, or rejected with a reason."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.clock import TICKS, Clock
from transforms.enrich import SideTable
from transforms.history import History
from transforms.ingest_outcome import unusable
from transforms.log_rows import prepare_rows
from transforms.outcome_rows import prepare_outcomes
from transforms.outcomes import OutcomeColumn, Outcomes
from transforms.raw_rows import RawRows
from transforms.readers import file_format, parse_block, read_blocks
from transforms.row_reader import REJECTED, LogFile
from transforms.tally import Tally
from transforms.task_labels import Label

_HEADER = "user,time,date,tab,item,age,clicked,play,p"
_GOOD = "u1,5,20240101,1,7,0,1,30,0.25"


@pytest.fixture
def tables():
    rows = pa.table({"key": ["7", "8"], "text:author": ["a", ""], "number:duration": [20.0, None]})
    return {"items": SideTable(rows, ("author", "duration"))}


def _raw(data: bytes, path: str) -> RawRows:
    (block,) = read_blocks(io.BytesIO(data), path, file_format(path))
    return parse_block(block, lambda _: io.BytesIO(data))


def _prepare(lines, schema, splits, tables, header=_HEADER):
    raw = _raw("\n".join([header, *lines, ""]).encode(), "day.csv")
    return prepare_rows(raw, LogFile(3, "day.csv", "csv"), schema, splits, tables)


def test_a_good_row(schema, splits, tables):
    done = _prepare([_GOOD], schema, splits, tables)
    (row,) = done.rows.to_pylist()
    assert row.pop("key_hash") and row.pop("row_hash")
    assert row == {
        "file": 3,
        "row": 2,
        "day": datetime.date(2024, 1, 1).toordinal(),
        "text:user": "u1",
        "text:time": "5",
        "text:item": "7",
        "text:author": "a",
        "text:tab": "1",
        "number:age": 0.0,
        "label:click": 1,
        "label:long": 1,
        "true:click": 0.25,
        "unmatched:items": False,
    }
    assert done.rejected.num_rows == 0
    assert done.rejected.schema == REJECTED


def test_zeros_and_missing_values_stay_apart(schema, splits, tables):
    lines = ["u1,5,20240101,1,8,,0,30,0", "u1,6,20240101,6,9,0.0,0,0,0"]
    lines[0] = lines[0].replace(",1,8,", ",6,8,")  # `tab > 5` decides, the duration is missing
    rows = _prepare(lines, schema, splits, tables).rows
    assert rows.column("number:age").to_pylist() == [None, 0.0]
    assert rows.column("text:author").to_pylist() == ["", None]
    assert rows.column("unmatched:items").to_pylist() == [False, True]
    assert rows.column("label:click").to_pylist() == [0, 0]
    assert rows.column("true:click").to_pylist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u1,5,20240101", "wrong number of fields, not 9"),
        (_GOOD.replace("20240101", ""), "`date` is missing"),
        (_GOOD.replace("20240101", "2024-01-01"), "`date` is not a day in the format %Y%m%d"),
        (_GOOD.replace("u1", ""), "`user` is missing"),
        (_GOOD.replace(",5,", ",,"), "`time` is missing"),
        (_GOOD.replace(",5,", ",now,"), "`time` is not a number"),
        (_GOOD.replace(",1,7,", ",,7,"), "`tab` is missing"),
        (_GOOD.replace(",1,7,", ",feed,7,"), "`tab` is not a number"),
        (_GOOD.replace(",0,1,", ",x,1,"), "`age` is not a number"),
        (_GOOD.replace(",0,1,", ",inf,1,"), "`age` is not a number"),
        (_GOOD.replace(",0,1,", ",1e39,1,"), "`age` is too large for a feature"),
        (
            _GOOD.replace(",0,1,", ",0,,"),
            "the label of `click` cannot be computed from what is there",
        ),
        (_GOOD.replace(",7,", ",9,"), "the label of `long` cannot be computed from what is there"),
        (_GOOD.replace("0.25", ""), "`p` is not a probability"),
        (_GOOD.replace("0.25", "1.5"), "`p` is not a probability"),
    ],
)
def test_a_row_that_cannot_be_used(schema, splits, tables, line, reason):
    done = _prepare([_GOOD, line], schema, splits, tables)
    assert done.rows.num_rows == 1
    (rejected,) = done.rejected.to_pylist()
    raw = rejected.pop("raw")
    assert rejected == {"file": "day.csv", "row": 3, "reason": reason}
    if line.count(",") == 8:
        fields = [field or None for field in line.split(",")]
        assert json.loads(raw) == dict(zip(_HEADER.split(","), fields, strict=True))
    else:
        assert raw == line
    assert done.tally.of("rejected") == {reason: 1}
    assert done.tally.examples["rejected", reason].row == 3


def test_rows_outside_of_a_sample_space_stay(schema, splits, tables):
    """A row that one task cannot use is there for the others."""
    labels = {
        "click": Label("clicked == 1"),
        "ratio": Label("play / duration", "regression"),
        "long": Label("play > 20", space="clicked == 1"),
        "power": Label("age", "multiclass", classes=3, space="clicked == 1"),
    }
    wider = dataclasses.replace(schema, labels=labels)
    lines = [
        _GOOD,
        _GOOD.replace(",1,7,", ",1,8,"),  # no duration
        _GOOD.replace(",0,1,30", ",7,0,"),  # not clicked, and no time of play
        _GOOD.replace(",0,1,30", ",7,1,30"),  # clicked, and of no class
    ]
    done = _prepare(lines, wider, splits, tables)
    columns = [done.rows.column(f"label:{task}").to_pylist() for task in labels]
    assert columns == [[1, 1, 0], [1.5, None, None], [1, 1, None], [0.0, 0.0, None]]
    (rejected,) = done.rejected.to_pylist()
    assert rejected["reason"] == ("the label of `power` is not a class, a whole number from 0 to 2")


def test_a_row_without_a_request_is_rejected_where_tasks_rank(schema, splits, tables):
    line = _GOOD.replace(",0,1,", ",,1,")
    assert _prepare([line], schema, splits, tables).rows.num_rows == 1
    ranking = dataclasses.replace(schema, request=("user", "age"))
    done = _prepare([line, _GOOD], ranking, splits, tables)
    assert done.rejected.column("reason").to_pylist() == ["`age` is missing"]
    assert done.rows.column("text:age").to_pylist() == ["0"]


@pytest.mark.parametrize("stored", ["s", "ms", "us", "ns"])
def test_typed_times_and_ids_are_those_of_csv(schema, splits, tables, stored):
    history = History("user", "time", ("item",), None, (), True, 4)
    schema = dataclasses.replace(schema, history=history)
    clock = Clock("ms", "UTC", datetime.timedelta(0), True)
    as_text = _GOOD.replace(",5,", ",1704067205000,")
    row = dict(zip(_HEADER.split(","), as_text.split(","), strict=True))
    typed = {name: pa.array([value]) for name, value in row.items()}
    typed["time"] = pa.array([1_704_067_205 * TICKS[stored]], pa.timestamp(stored, "Asia/Tokyo"))
    for name in ("user", "item"):
        typed[name] = pa.array([decimal.Decimal(7)], pa.decimal128(38, 10))
    with_clock = dataclasses.replace(schema, clock=clock)
    file = LogFile(0, "day.parquet", "parquet")
    raw = RawRows(pa.table(typed), np.array([1]))
    (found,) = prepare_rows(raw, file, with_clock, splits, tables).rows.to_pylist()
    expected = _prepare([as_text.replace("u1,", "7,")], with_clock, splits, tables)
    (expected,) = expected.rows.to_pylist()
    for column in ("number:time", "text:user", "text:item", "text:author", "unmatched:items"):
        assert found[column] == expected[column]
    (in_seconds,) = prepare_rows(raw, file, schema, splits, tables).rows["number:time"].to_pylist()
    assert in_seconds == 1_704_067_205


def test_other_days_are_counted_whatever_else_their_rows_hold(schema, splits, tables):
    lines = [
        _GOOD.replace("20240101", "20240104").replace("0.25", "x"),
        _GOOD.replace("20240101", "20240106"),
        _GOOD,
    ]
    done = _prepare(lines, schema, splits, tables)
    assert done.rows.num_rows == 1
    assert done.tally.of("out_of_range") == {"2024-01-04": 1, "2024-01-06": 1}
    assert done.rejected.num_rows == 0


def test_the_day_may_come_from_the_path(schema, splits, tables):
    by_path = dataclasses.replace(schema, day_column=None)
    raw = _raw(f"{_HEADER}\n{_GOOD}\n".encode(), "day.csv")
    day = datetime.date(2024, 1, 5).toordinal()
    done = prepare_rows(raw, LogFile(0, "day.csv", "csv", day), by_path, splits, tables)
    assert done.rows.column("day").to_pylist() == [day]


def test_nothing_is_prepared_without_all_columns(schema, splits, tables):
    """Else every row would be rejected, for a fault that is the file's."""
    header = _HEADER.replace("clicked", "cliked")
    done = _prepare([_GOOD], schema, splits, tables, header)
    assert done.rows is None
    assert done.rejected.num_rows == 0
    assert done.tally.columns == {"day.csv": dict.fromkeys(header.split(","), {"text"})}


@pytest.mark.parametrize("path", ["day.csv", "day.jsonl"])
def test_a_part_without_a_byte_lacks_no_column(schema, splits, tables, path):
    file = LogFile(0, path, file_format(path))
    tally = prepare_rows(_raw(b"", path), file, schema, splits, tables).tally
    outcomes = Outcomes(("user",), "at", (), (OutcomeColumn("paid", "amount", "sum"),), 1, 0, "s")
    tally.add(prepare_outcomes(_raw(b"", path), file, outcomes)[2])
    assert unusable(tally, schema, {"items": ("author", "duration")}) == []
    assert not tally.counts


def test_json_may_leave_out_what_is_missing(schema, splits, tables):
    row = dict(zip(_HEADER.split(","), _GOOD.split(","), strict=True))
    lines = [row, {k: v for k, v in row.items() if k != "age"}, {**row, "item": [7]}]
    data = "\n".join(map(json.dumps, lines)) + "\n"
    done = prepare_rows(
        _raw(data.encode(), "day.jsonl"), LogFile(0, "day.jsonl", "jsonl"), schema, splits, tables
    )
    assert done.rows.column("number:age").to_pylist() == [0.0, None]
    assert done.rejected.column("reason").to_pylist() == ["`item` is not text"]

    without = {k: v for k, v in row.items() if k != "age"}
    alone = _raw(json.dumps(without).encode(), "day.jsonl")
    done = prepare_rows(alone, LogFile(0, "day.jsonl", "jsonl"), schema, splits, tables)
    assert done.rows.column("number:age").to_pylist() == [None]


def test_bad_cells_are_counted_by_column(schema, splits, tables):
    lines = [_GOOD, _GOOD.replace(",0,1,", ",x,1,"), _GOOD.replace(",0,1,", ",,1,")]
    tally = _prepare(lines, schema, splits, tables).tally
    assert tally.counts["cells", "day.csv", "age", "a number"] == 2
    assert tally.counts["bad_cells", "day.csv", "age", "a number"] == 1
    assert tally.examples["bad_cells", "day.csv", "age", "a number"].text == '"x"'


def test_columns_of_lists_are_bad_in_every_row(schema, splits, tables):
    row = dict(zip(_HEADER.split(","), _GOOD.split(","), strict=True))
    raw = RawRows(
        pa.table({k: [v] for k, v in {**row, "age": [1]}.items()}), pa.array([1]).to_numpy()
    )
    done = prepare_rows(raw, LogFile(0, "day.parquet", "parquet"), schema, splits, tables)
    assert done.rejected.column("reason").to_pylist() == ["`age` is not a number"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", '"', ",", "\xff", "\0", "-", "\r", "[", ""]), st.integers(0, 60)
        ),
        max_size=12,
    ),
    st.sampled_from(["day.csv", "day.jsonl"]),
)
def test_no_row_gets_lost_under_broken_bytes(schema, splits, tables, breaks, path):
    fields = _HEADER.split(",")
    lines = [_GOOD.replace("20240101", f"2024010{1 + i % 6}") for i in range(6)]
    if path == "day.jsonl":
        lines = [json.dumps(dict(zip(fields, v.split(","), strict=True))) for v in lines]
    broken = [bytearray(line.encode()) for line in lines]
    for i, (text, position) in enumerate(breaks):
        line = broken[i % len(broken)]
        at = position % (len(line) + 1)
        line[at : at + 1] = text.encode("latin-1")
    head = [_HEADER.encode()] if path == "day.csv" else []
    data = b"\n".join([*head, *broken]) + b"\n"
    tally, kept, rejected = Tally(), 0, 0
    for block in read_blocks(io.BytesIO(data), path, file_format(path), 100):
        raw = parse_block(block, open)
        done = prepare_rows(raw, LogFile(0, path, file_format(path)), schema, splits, tables)
        tally.add(done.tally)
        kept += done.rows.num_rows
        rejected += done.rejected.num_rows
    blank = sum(
        not line.strip() if path == "day.jsonl" else line in (b"", b"\r") for line in broken
    )
    assert sum(tally.of("read").values()) == len(broken) - blank
    assert sum(tally.of("rejected").values()) == rejected
    assert kept + rejected + sum(tally.of("out_of_range").values()) == len(broken) - blank


@pytest.mark.parametrize(("reject", "rejected"), [(True, 1), (False, 0)])
def test_rows_of_another_day_by_their_time(schema, splits, tables, reject, rejected):
    clock = Clock("s", "UTC", datetime.timedelta(seconds=60), reject)
    schema = dataclasses.replace(schema, clock=clock)
    midnight = int(datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc).timestamp())
    times = (midnight, midnight - 60, midnight - 61)
    lines = [_GOOD.replace("u1,5,", f"u1,{time},") for time in times]
    done = _prepare(lines, schema, splits, tables)
    assert done.tally.of("clock") == {"skewed": 1, "other_day": 1}
    assert done.tally.of("rejected") == (
        {"`time` is of another day than `date`": 1} if reject else {}
    )
    assert done.rows.num_rows == 3 - rejected
