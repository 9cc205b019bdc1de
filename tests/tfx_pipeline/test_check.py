"""The check of a config against a sample of its data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

import tfx_pipeline.check
from tfx_pipeline.check import check, check_file
from tfx_pipeline.config import Config, load_config

_ROOT = Path(__file__).resolve().parents[2]

_CONFIG = """
name: small
data:
  logs: "{YYYY}-{MM}-{DD}.csv"
  event_key: [user_id, time_ms]
  event_time: time_ms
  user: user_id
  tables: {item: {files: item.csv, key: item_id}}
  train: 2024-01-01
  valid: 2024-01-02
  eval: 2024-01-03
features: {categorical: [user_id, item_id, author], numeric: [play_ms]}
scenario: {column: tab, values: [feed, search]}
tasks: {click: {label: is_click == 1}, long: {label: play_ms > duration}}
"""
_HEADER = "user_id,item_id,time_ms,tab,is_click,play_ms"


@pytest.fixture
def logs(tmp_path):
    for day in (1, 2, 3):
        rows = [
            f"{u},{u % 4},{1000 * day + u},{'search' if u % 4 else 'feed'},{u % 2},{u}"
            for u in range(40)
        ]
        write_day(tmp_path, day, rows)
    items = [f"{item},a{item},{10 * item}" for item in range(4)]
    (tmp_path / "item.csv").write_text("\n".join(["item_id,author,duration", *items]))
    return tmp_path


def write_day(folder, day, rows, header=_HEADER):
    (folder / f"2024-01-0{day}.csv").write_text("\n".join([header, *rows, ""]))


def read_day(folder, day):
    return (folder / f"2024-01-0{day}.csv").read_text().splitlines()[1:]


def config(folder, **changes) -> Config:
    raw = yaml.safe_load(_CONFIG)
    raw["data"]["path"] = str(folder)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        raw[section][name] = value
    return Config.model_validate(raw)


def test_good_data(logs):
    result = check(config(logs))
    assert result.problems == ()
    assert result.warnings == ()
    assert result.summary == (
        "files: 3 of the log, 1 of joined tables; rows read: 120, all there are",
        "columns: 8, with 3 categorical and 1 numeric features; statistics of past days: 0",
        "scenarios: feed 25.0%, search 75.0%, other (0 values) 0.0%",
        "positives: click 50.00%, long 60.00%",
    )


def test_all_that_is_wrong_is_said_at_once(logs):
    (logs / "2024-01-02.csv").unlink()
    write_day(logs, 3, read_day(logs, 3), _HEADER.replace("play_ms", "play_time"))
    settings = config(logs, tasks__click={"label": "is_clik == 1"})
    assert [str(p) for p in check(settings).problems] == [
        f"{logs}/2024-01-02.csv: found no such file; expected the log of 2024-01-02, a day of "
        "data.valid. Copy it there, or change the days. Where a day has none, as a closed day may, "
        "set data.empty_days to warn.",
        f"{logs}/2024-01-01.csv, {logs}/2024-01-03.csv: found no column `is_clik` in the log or "
        "its tables; expected one, for tasks.click.label. Did you mean `is_click`?",
        f"{logs}/2024-01-03.csv: found no column `play_ms` in the log or its tables; expected one, "
        "for features.numeric, tasks.long.label. Did you mean `play_time`?",
    ]


def test_mistakes_of_the_file_do_not_hide_columns_that_are_wrong(logs, tmp_path):
    text = _CONFIG.replace("data:", f"data:\n  path: {logs}").replace("[user_id, ", "[usr_id, ", 1)
    text = text.replace("user_id, item_id, author", "user_id, itm_id, author")
    text = text.replace("is_click == 1", "is_click = 1").replace("duration}", "duraton}")
    (tmp_path / "job.yaml").write_text(text + "traning: {epochs: 3}\n")
    said = [str(p).replace(f"{logs}/", "") for p in check_file(tmp_path / "job.yaml").problems]
    files, where = "2024-01-01.csv, 2024-01-02.csv and 1 more", "in the log or its tables"
    assert said == [
        "tasks.click: found label: `is_click = 1` cannot be read: invalid syntax at character 10; "
        "allowed are column names, numbers, texts in quotes, == != < <= > >=, and, or, not, + - * "
        "/, parentheses, min(a, b), max(a, b); expected what docs/reference/config.md says of this "
        "key.",
        "traning: found an unknown key (line 16, column 1 of job.yaml); expected a key of "
        "docs/reference/config.md. Did you mean `training`?",
        f"{files}: found no column `duraton` {where}; expected one, for tasks.long.label. Did you "
        "mean `duration`?",
        f"{files}: found no column `itm_id` {where}; expected one, for features.categorical. Did "
        "you mean `item_id`?",
        f"{files}: found no column `usr_id` in the log; expected one, for data.event_key. Did you "
        "mean `user_id`?",
    ]


def test_a_table_that_is_missing(logs):
    (logs / "item.csv").unlink()
    (problem,) = check(config(logs)).problems
    assert problem.where == f"{logs}/item.csv"


def test_a_table_at_fault_does_not_hide_what_the_log_lacks(logs):
    (logs / "item.csv").write_text("item_id,author,duration\n1,a,5\n1,a,5\n")
    write_day(logs, 3, read_day(logs, 3), _HEADER.replace("time_ms", "time"))
    said = [str(p) for p in check(config(logs)).problems]
    assert len(said) == 2
    assert said[0].startswith(f"{logs}/item.csv: found 1 values of `item_id` more than once")
    assert said[1].startswith(f"{logs}/2024-01-03.csv: found no column `time_ms` in the log")


def test_types_and_damage(logs):
    write_day(logs, 1, [row.rsplit(",", 1)[0] + ",long" for row in read_day(logs, 1)])
    (logs / "2024-01-03.csv").write_bytes("x".encode("utf-16"))
    said = [str(p) for p in check(config(logs)).problems]
    assert len(said) == 2
    assert said[0].startswith(f"{logs}/2024-01-01.csv: found nothing in column `play_ms` that is a")
    assert said[1].startswith(f"{logs}/2024-01-03.csv: found a first line that is not UTF-8")


def test_rows_that_cannot_be_used_are_warned_of_until_they_are_too_many(logs):
    write_day(logs, 1, [*read_day(logs, 1), "broken"])
    result = check(config(logs))
    assert result.problems == ()
    (warning,) = result.warnings
    assert str(warning).startswith("the log: found 1 rows that cannot be used, most because wrong")
    write_day(logs, 1, [*read_day(logs, 1), "broken", "broken"])
    (problem,) = check(config(logs)).problems
    assert "found 3 of 123 rows (2.4%) that cannot be used" in str(problem)


def test_warnings(logs):
    rows = [row.replace("search", "other").replace(",feed,", ",home,") for row in read_day(logs, 1)]
    rows = [",".join([*row.split(",")[:4], "0", ""]) for row in rows]
    rows.append("1,99,5,home,0,")
    for day in (1, 2, 3):
        write_day(logs, day, rows)
    (logs / "item.csv").write_text("item_id,author,duration\n0,,1\n1,,1\n2,,1\n3,,1\n")
    result = check(config(logs, tasks__long={"label": "is_click == 0"}))
    said = [str(w) for w in result.warnings]
    assert said == [
        "scenario.values: found feed, search, which no row of the sample has in `tab`; expected "
        "scenarios that occur. There are: home, other.",
        "tasks.click.label: found negatives only in the sample; expected rows of both kinds.",
        "tasks.long.label: found positives only in the sample; expected rows of both kinds.",
        "features.categorical: found no value of `author` in the sample; expected a feature that "
        "varies.",
        "features.numeric: found no value of `play_ms` in the sample; expected a feature that "
        "varies.",
        "data.tables.item: found no key for 3 of 123 rows (2.4%); expected a key for every row; "
        "the features of the others are missing.",
    ]


def test_whole_numbers_that_are_written_as_decimals(logs):
    rows = read_day(logs, 2)
    write_day(logs, 2, [rows[0], *(row.replace(",", ".0,", 1) for row in rows[1:])])
    (warning,) = check(config(logs)).warnings
    assert str(warning) == (
        "features.categorical: found `1.0` and the like beside integers in `user_id`; expected "
        "whole numbers written in one way: as text, `1.0` and `1` are two keys, and nothing joins "
        "them. Write the column as integers, or as Parquet; pandas adds `.0` where a column has "
        "gaps."
    )
    write_day(logs, 2, [rows[0].replace(",", ".5,", 1), *rows[1:]])
    assert check(config(logs)).warnings == ()
    (logs / "item.csv").write_text(
        "\n".join(["item_id,author,duration", *[f"{item}.0,a,{10 * item}" for item in range(4)]])
    )
    settings = config(logs, tasks__long={"label": "play_ms > 5"}, features__categorical=["item_id"])
    unmatched, key = check(settings).warnings
    assert unmatched.found.startswith("no key for 120 of 120 rows")
    assert str(key).startswith("data.tables.item.key: found `0.0` and the like beside integers in")


def test_timestamps_beside_numbers(logs):
    """Nothing tells the numbers' unit, so that the files cannot be brought into one order."""
    for day, kind in ((1, pa.timestamp("us")), (2, pa.timestamp("ns")), (3, pa.int64())):
        table = pa.csv.read_csv(logs / f"2024-01-0{day}.csv")
        times = pa.array([1000 * time for time in table["time_ms"].to_pylist()], kind)
        table = table.set_column(table.column_names.index("time_ms"), "time_ms", times)
        pq.write_table(table, logs / f"2024-01-0{day}.parquet")
    settings = config(logs, data__logs="{YYYY}-{MM}-{DD}.parquet")
    (problem,) = check(settings).problems
    assert str(problem) == (
        f"{logs}/2024-01-03.parquet: found numbers in column `time_ms`, which is timestamp[us] in "
        f"{logs}/2024-01-01.parquet; expected numbers of a known unit beside timestamps. Set "
        "data.clock.unit to it; timestamps are then counted in it."
    )
    clock = {"unit": "us", "other_day": "keep"}
    settings = config(logs, data__logs="{YYYY}-{MM}-{DD}.parquet", data__clock=clock)
    assert check(settings).problems == ()


def test_a_day_that_a_column_does_not_hold(logs):
    for day in (1, 2, 3):
        rows = [f"{row},2024010{min(day, 2)}" for row in read_day(logs, day)]
        write_day(logs, day, rows, f"{_HEADER},date")
    by_column = {"column": "date", "format": "%Y%m%d"}
    settings = config(logs, data__day=by_column, data__logs="2024*.csv")
    (problem,) = check(settings).problems
    assert str(problem).startswith("data.eval: found no usable row of 2024-01-03 in the log")


def test_days_without_rows_that_are_allowed(logs, monkeypatch):
    (logs / "2024-01-02.csv").unlink()
    settings = config(
        logs, data__train="2024-01-01..2024-01-02", data__valid=None, data__empty_days="warn"
    )
    said = "the log: found no row of 2024-01-02; expected rows; data.empty_days allows for none."
    result = check(settings)
    assert result.problems == ()
    assert [str(w) for w in result.warnings] == [said]
    monkeypatch.setattr(tfx_pipeline.check, "_ROWS_PER_FILE", 15)
    assert [str(w) for w in check(settings).warnings] == [said]


@pytest.mark.parametrize("block_bytes", [100, 100_000])
def test_only_a_sample_is_read(logs, monkeypatch, block_bytes):
    monkeypatch.setattr(tfx_pipeline.check, "_ROWS_PER_FILE", 15)
    monkeypatch.setattr(tfx_pipeline.check, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(tfx_pipeline.check, "_MOST_FILES", 2)
    rows = read_day(logs, 1)
    write_day(logs, 1, [*rows[:3], "broken", *rows[3:], *["broken"] * 20])
    result = check(config(logs, data__max_rejected_fraction=0.1))
    assert result.problems == ()
    assert "rows read: 31, a sample of 2 files" in result.summary[0]
    assert result.summary[2:4] == (
        f"not read but for their columns, 1 files: {logs}/2024-01-02.csv",
        f"not read after 15 rows, 2 files: {logs}/2024-01-01.csv, {logs}/2024-01-03.csv",
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("part-1.csv", b"user_id,item_id,time_ms,tab,is_click\n", "no column `play_ms` in the log"),
        ("part-1.csv.gz", b"user_id", "damaged gzip"),
        ("part-1.parquet", b"", "damaged Parquet"),
        ("part-1.jsonl", b"PAR1\nx\n", "no row in its first 2 lines; of line 1, the line is not"),
    ],
)
def test_every_file_is_looked_at(logs, name, data, said):
    for day in (1, 2, 3):
        folder = logs / f"2024-01-0{day}"
        folder.mkdir()
        (logs / f"2024-01-0{day}.csv").rename(folder / "part-0.csv")
    settings = config(logs, data__logs="{YYYY}-{MM}-{DD}/part-*")
    (logs / "2024-01-02" / "part-0.0.csv").write_bytes(b"")
    result = check(settings)
    assert result.problems == ()
    assert [str(w) for w in result.warnings] == [
        f"{logs}/2024-01-02/part-0.0.csv: found not a single byte; expected rows; it is read as a "
        "part without any."
    ]
    assert "rows read: 120, all there are" in result.summary[0]
    (logs / "2024-01-02" / name).write_bytes(data)
    (problem,) = check(settings).problems
    assert problem.where == f"{logs}/2024-01-02/{name}" and problem.found.startswith(said)


def test_uses_that_contradict_each_other(logs):
    (problem,) = check(config(logs, features__numeric=["tab"])).problems
    assert problem.where == "features.numeric"


@pytest.mark.kuairand
def test_the_real_slice(kuairand_dir):
    result = check(load_config(_ROOT / "configs" / "kuairand.yaml", [f"data.path={kuairand_dir}"]))
    assert result.problems == ()
    assert result.warnings == ()
    assert result.summary[0].endswith("rows read: 198,895, all there are")
    assert result.summary[2].startswith("scenarios: 1 75.7%, 0 8.9%, 4 5.9%, 2 2.9%, 6 5.1%, ")
