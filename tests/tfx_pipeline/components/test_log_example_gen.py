"""LogExampleGen as TFX runs it: what it leaves, and what it says of logs it cannot use."""

from __future__ import annotations

import datetime
import gzip
import json
import shutil
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from tfx import v1 as tfx

from tfx_pipeline.artifacts import FeatureState, IngestReport
from tfx_pipeline.components.log_example_gen import LogExampleGen, fingerprint_inputs
from tfx_pipeline.config import Config, load_config
from transforms.feature_state import read_shard, read_state
from transforms.problems import InputError

_ROOT = Path(__file__).resolve().parents[3]
_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"

_CONFIG = """
name: small
data:
  logs: log_*.csv.gz
  day: {column: date, format: "%Y%m%d"}
  event_key: [user_id, time_ms]
  event_time: time_ms
  user: user_id
  tables: {item: {files: item.csv, key: item_id}}
  train: 2024-01-01
  valid: 2024-01-02
  eval: 2024-01-03
features:
  categorical: [user_id, item_id, author]
  numeric: [play_ms]
  statistics: [{by: [item_id, tab], of: [click], prior: 10}]
scenario: {column: tab, values: [feed]}
tasks: {click: {label: is_click == 1}, long: {label: play_ms > duration}}
"""
_HEADER = "user_id,item_id,date,time_ms,tab,is_click,play_ms"


@pytest.fixture
def logs(tmp_path):
    """Three days of 40 rows and an item table."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for day in (1, 2, 3):
        write_day(folder, day, rows_of(day))
    items = [f"{item},a{item},{10 * item}" for item in range(4)]
    (folder / "item.csv").write_text("\n".join(["item_id,author,duration", *items]))
    return folder


def rows_of(day):
    return [
        f"{user},{user % 5},2024010{day},{1000 * day + user},feed,{user % 2},{user}.5"
        for user in range(40)
    ]


def write_day(folder, day, rows, header=_HEADER):
    text = "\n".join([header, *rows]) + "\n"
    (folder / f"log_{day}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def read_day(folder, day):
    return gzip.decompress((folder / f"log_{day}.csv.gz").read_bytes()).decode().splitlines()[1:]


def config(folder, **changes) -> Config:
    raw = yaml.safe_load(_CONFIG)
    raw["data"]["path"] = str(folder)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        raw[section][name] = value
    return Config.model_validate(raw)


def run(settings: Config, out, keep=("data", "features", "scenario", "tasks")):
    """Runs the component's function on artifacts below `out`."""
    examples = tfx.types.standard_artifacts.Examples()
    examples.uri = str(out / "examples")
    report = IngestReport()
    report.uri = str(out / "report")
    state = FeatureState()
    state.uri = str(out / "state")
    LogExampleGen.test_call(
        examples=examples,
        ingest_report=report,
        feature_state=state,
        config=settings.model_dump_json(include=set(keep)),
        inputs=fingerprint_inputs(settings),
        rejected_dir=str(out / "rejected"),
        days_dir=str(out / "days"),
        beam_pipeline=beam.Pipeline(options=PipelineOptions([_RUNNER])),
    )
    return examples, json.loads((out / "report" / "counts.json").read_text())


def read_examples(examples, split):
    files = sorted(tf.io.gfile.glob(f"{examples.uri}/Split-{split}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    parsed = [tf.train.Example.FromString(r.numpy()) for r in records]
    return [dict(example.features.feature) for example in parsed]


def fails(settings: Config, out) -> str:
    with pytest.raises(InputError) as caught:
        run(settings, out)
    return str(caught.value)


def test_it_goes_on_from_the_state_of_an_earlier_run(logs, tmp_path):
    usable = {"data__max_rejected_fraction": 0.3}
    run(config(logs, **usable), tmp_path / "first")
    again = [row.replace("20240103", "20240104") for row in rows_of(3)[:5]]
    for day, more in ((4, again), (5, []), (6, [])):
        write_day(logs, day, [*rows_of(day), *more])
    days = {"train": "2024-01-04", "valid": "2024-01-05", "eval": "2024-01-06"}
    later = {**usable, **{f"data__{split}": day for split, day in days.items()}}
    state = str(tmp_path / "first" / "state")
    examples, counts = run(config(logs, **later, data__state=state), tmp_path / "second")
    # Item 4 is in no table.
    assert counts["duplicates"] == 4
    count = "stat:item_id+tab:count"
    found = {e[count].float_list.value[0] for e in read_examples(examples, "train")}
    assert found == {3 * 8.0}, "three days of eight users an item"
    _, alone = run(config(logs, **later), tmp_path / "third")
    assert alone["duplicates"] == 0


def test_what_it_leaves(logs, tmp_path):
    write_day(logs, 2, [*read_day(logs, 2), "7,1,20240102,,feed,1,0", "9,9,20231231,1,feed,1,0"])
    examples, counts = run(config(logs, data__max_rejected_fraction=0.3), tmp_path)

    assert examples.splits == ["train", "valid", "eval"]
    assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert examples.span == 19_725  # 2024-01-03
    # Item 4 is in no table: 8 users a day, whose `long` needs its duration.
    assert {k: counts[k] for k in ("read", "duplicates", "rejected", "out_of_range")} == {
        "read": 122,
        "duplicates": 0,
        "rejected": 25,
        "out_of_range": 1,
    }
    assert [counts[split] for split in ("train", "valid", "eval")] == [32, 32, 32]
    assert [(r["reason"], r["rows"]) for r in counts["reasons"]] == [
        ("the label of `long` cannot be computed from what is there", 24),
        ("`time_ms` is missing", 1),
    ]
    assert counts["reasons"][1]["example"].startswith(f"{logs}/log_2.csv.gz, row 42: ")
    assert counts["scenarios"] == {"feed": 96}
    assert counts["other_scenario_rows"] == 0
    assert counts["days"] == dict.fromkeys(["2024-01-01", "2024-01-02", "2024-01-03"], 32)
    assert counts["files"][1] == {"path": f"{logs}/log_2.csv.gz", "rows": 42}
    assert counts["unmatched"] == {"item": 0}
    rejected = pq.read_table(tmp_path / "report" / "rejected").to_pylist()
    assert len(rejected) == 25
    assert rejected[-1]["file"] == f"{logs}/log_3.csv.gz"
    assert json.loads(rejected[-1]["raw"])["user_id"] == "39"
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["counts.json", "rejected"]

    row = next(
        r for r in read_examples(examples, "train") if r["user_id"].bytes_list.value == [b"0"]
    )
    assert set(row) == {
        *("user_id", "item_id", "author", "play_ms", "tab", "click", "long"),
        *("_scenario", "_day", "stat:item_id+tab:count", "stat:item_id+tab:click:rate"),
    }
    assert row["author"].bytes_list.value == [b"a0"]
    assert row["play_ms"].float_list.value == [0.5]
    assert (row["click"].int64_list.value, row["long"].int64_list.value) == ([0], [1])


def test_statistics_and_the_state(logs, tmp_path):
    examples, _ = run(config(logs, data__max_rejected_fraction=0.5), tmp_path)

    # A day has 8 rows of each of 4 items, 4 of them clicked.
    for split, count, rate in (("train", 0, []), ("valid", 8, [0.5]), ("eval", 16, [0.5])):
        for row in read_examples(examples, split):
            assert row["stat:item_id+tab:count"].float_list.value == [count]
            assert row["stat:item_id+tab:click:rate"].float_list.value == rate
    state = read_state(str(tmp_path / "state"))
    assert state.last_day == datetime.date(2024, 1, 3).toordinal()
    (statistic,) = state.statistics
    assert (statistic.by, statistic.of, statistic.prior) == (("item_id", "tab"), ("click",), 10)
    assert state.totals[0].tolist() == [96, 48]
    (shard,) = state.shards(statistic)
    sums = read_shard(shard)
    assert sums.column_names == ["key", "count", "positives:click"]
    assert (sums["count"].to_pylist(), sums["positives:click"].to_pylist()) == ([24] * 4, [12] * 4)


@pytest.mark.e2e
def test_in_a_pipeline_a_changed_byte_is_noticed(logs, tmp_path):
    def times_run() -> int:
        settings = config(logs, data__max_rejected_fraction=0.5)
        generator = LogExampleGen(
            config=settings.model_dump_json(include={"data", "features", "scenario", "tasks"}),
            inputs=fingerprint_inputs(settings),
            rejected_dir=str(tmp_path / "rejected"),
            days_dir=str(tmp_path / "days"),
        )
        metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.db")
        )
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="small",
                pipeline_root=str(tmp_path / "root"),
                components=[generator],
                enable_cache=True,
                metadata_connection_config=metadata,
                beam_pipeline_args=[_RUNNER],
            )
        )
        return len(list((tmp_path / "root" / "LogExampleGen" / "examples").glob("*")))

    assert times_run() == 1
    assert times_run() == 1
    rows = read_day(logs, 1)
    write_day(logs, 1, [rows[0].replace("feed", "fees"), *rows[1:]])
    assert times_run() == 2
    write_day(logs, 1, [])
    with pytest.raises(InputError, match="no usable row of 2024-01-01"):
        times_run()


def test_the_same_input_gives_the_same_output(logs, tmp_path):
    settings = config(logs, data__max_rejected_fraction=0.5)
    first, _ = run(settings, tmp_path / "a")
    second, _ = run(settings, tmp_path / "b")
    for split in ("train", "valid", "eval"):
        rows = read_examples(first, split)
        assert len(rows) == 32
        assert rows == read_examples(second, split)
    files = [
        f for kind in ("report", "state") for f in sorted((tmp_path / "a" / kind).rglob("*.*"))
    ]
    assert [f.name for f in files] == [
        *("counts.json", "00000.parquet", "00001.parquet", "00002.parquet"),
        *("00000-of-00001.parquet", "state.json", "000-00000-of-00001.parquet"),
    ]
    for file in files:
        again = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert again.read_bytes() == file.read_bytes(), file


def test_the_fingerprint_sees_names_and_contents(logs):
    seen = {fingerprint_inputs(config(logs))}
    (logs / "item.csv").write_text((logs / "item.csv").read_text().replace("30", "31"))
    seen.add(fingerprint_inputs(config(logs)))
    shutil.copy(logs / "log_1.csv.gz", logs / "log_1b.csv.gz")
    seen.add(fingerprint_inputs(config(logs)))
    (logs / "log_1b.csv.gz").rename(logs / "log_1c.csv.gz")
    seen.add(fingerprint_inputs(config(logs)))
    assert len(seen) == 4
    elsewhere = logs.rename(logs.with_name("elsewhere"))
    assert fingerprint_inputs(config(elsewhere)) in seen


def test_missing_files_are_all_named(tmp_path):
    settings = config(tmp_path)
    with pytest.raises(InputError) as caught:
        fingerprint_inputs(settings)
    first, second = map(str, caught.value.problems)
    assert first.startswith(f"{tmp_path}/log_*.csv.gz: found no such file; expected at least one")
    assert second.startswith(f"{tmp_path}/item.csv: found no such file")


def test_a_missing_file_of_a_day(logs, tmp_path):
    settings = config(
        logs, data__logs="log_2024-{MM}-{DD}_{YYYY}.csv.gz", data__day={"column": None}
    )
    text = fails(settings, tmp_path)
    assert "log_2024-01-02_2024.csv.gz: found no such file; expected the log of 2024-01-02" in text
    assert text.count("no such file") == 3


def test_an_empty_day(logs, tmp_path):
    write_day(logs, 3, [])
    text = fails(config(logs, data__max_rejected_fraction=0.5), tmp_path)
    assert text == (
        "data.eval: found no usable row of 2024-01-03 in the log; expected rows on every day of "
        "the split. Where a day has none, as a closed day may, set data.empty_days to warn."
    )


def test_an_empty_day_that_is_allowed(logs, tmp_path):
    """Statistics count on over it, and rows that arrive for it later make a new version."""
    days = {"train": "2024-01-01..2024-01-02", "valid": None, "eval": "2024-01-03"}
    settings = config(
        logs,
        **{f"data__{split}": value for split, value in days.items()},
        data__max_rejected_fraction=0.5,
        data__empty_days="warn",
    )
    second = (logs / "log_2.csv.gz").rename(tmp_path / "late")
    examples, counts = run(settings, tmp_path)
    assert counts["empty_days"] == ["2024-01-02"]
    assert counts["days"] == {"2024-01-01": 32, "2024-01-02": 0, "2024-01-03": 32}
    assert counts["arrived_again"] == []
    rows = read_examples(examples, "eval")
    sums = [row["stat:item_id+tab:count"].float_list.value[0] for row in rows]
    assert sums == [8.0] * 32, "eight users an item, on the first day"

    second.rename(logs / "log_2.csv.gz")
    _, counts = run(settings, tmp_path)
    assert counts["empty_days"] == []
    (again,) = counts["arrived_again"]
    assert (again["day"], again["rows_before"], again["rows"]) == ("2024-01-02", 0, 32)

    write_day(logs, 3, [])
    assert fails(settings, tmp_path) == (
        "data.eval: found no usable row of 2024-01-03 in the log; expected rows on a day of the "
        "split."
    )


def test_a_truncated_gzip(logs, tmp_path):
    whole = (logs / "log_2.csv.gz").read_bytes()
    (logs / "log_2.csv.gz").write_bytes(whole[:-40])
    text = fails(config(logs), tmp_path)
    assert text.startswith(f"{logs}/log_2.csv.gz: found a gzip file that is cut short")
    assert text.endswith("Copy or write it again.")


def test_a_column_gone(logs, tmp_path):
    rows = [",".join([*row.split(",")[:5], *row.split(",")[6:]]) for row in read_day(logs, 2)]
    write_day(logs, 2, rows, _HEADER.replace("is_click,", ""))
    assert fails(config(logs), tmp_path) == (
        f"{logs}/log_2.csv.gz: found no column `is_click` in the log or its tables; expected one, "
        "for tasks.click.label. There are: author, date, duration, item_id, play_ms, tab, "
        "time_ms, user_id."
    )


def test_a_column_of_the_wrong_type(logs, tmp_path):
    write_day(logs, 2, [row.rsplit(",", 1)[0] + ",long" for row in read_day(logs, 2)])
    assert fails(config(logs), tmp_path) == (
        f"{logs}/log_2.csv.gz: found nothing in column `play_ms` that is a number (in row 2: "
        '"long"); expected a number in every row, for features.numeric, tasks.long.label.'
    )


def test_days_in_another_format(logs, tmp_path):
    text = fails(config(logs, data__day={"column": "date", "format": "%Y-%m-%d"}), tmp_path)
    assert text == (
        f"{logs}/log_1.csv.gz, {logs}/log_2.csv.gz and 1 more: found nothing in column `date` "
        'that is a day in the format %Y-%m-%d (in row 2: "20240101"); expected a day in the '
        "format %Y-%m-%d in every row, for data.day.column."
    )


def test_thirty_percent_broken_rows(logs, tmp_path):
    for day in (1, 2, 3):
        rows = read_day(logs, day)
        rows[:6] = ["broken"] * 6
        rows[6:10] = [row.replace("feed", "") for row in rows[6:10]]
        rows[10:12] = [row.replace(",feed,", ",feed,?") for row in rows[10:12]]
        write_day(logs, day, rows)
    (logs / "item.csv").write_text((logs / "item.csv").read_text() + "\n4,a4,40")
    text = fails(config(logs), tmp_path)
    assert text.startswith(
        "the log: found 36 of 120 rows (30.0%) that cannot be used: "
        "18 because wrong number of fields, not 7 "
        f"({logs}/log_1.csv.gz, row 2: broken); 12 because `tab` is missing ("
    )
    assert "; 6 because `is_click` is not a number (" in text
    assert text.endswith(
        "expected at most 1.0% of them, as data.max_rejected_fraction says. "
        f"All rejected rows are in {tmp_path}/rejected."
    )
    left = pq.read_table(tmp_path / "rejected")
    assert left.num_rows == 36
    assert left.column_names == ["file", "row", "reason", "raw"]
    assert [p.name for p in tmp_path.glob("rejected*")] == ["rejected"]


def test_a_typo_in_a_label(logs, tmp_path):
    text = fails(config(logs, tasks__click={"label": "is_clik == 1"}), tmp_path)
    assert text == (
        f"{logs}/log_1.csv.gz, {logs}/log_2.csv.gz and 1 more: found no column `is_clik` in the "
        "log or its tables; expected one, for tasks.click.label. Did you mean `is_click`?"
    )


def test_a_repeated_key_in_a_table(logs, tmp_path):
    with open(logs / "item.csv", "a") as file:
        file.write("\n1,b,5\n1,c,5")
    text = fails(config(logs), tmp_path)
    assert text.startswith(
        f"{logs}/item.csv: found 1 values of `item_id` more than once ('1' 3 times)"
    )


def test_uses_that_contradict_each_other(logs, tmp_path):
    text = fails(config(logs, features__numeric=["user_id"]), tmp_path)
    assert text.startswith("features.numeric: found `user_id`, which is data.user")


@pytest.mark.kuairand
def test_counts_of_the_real_slice(kuairand_dir, tmp_path):
    settings = load_config(_ROOT / "configs" / "kuairand.yaml", [f"data.path={kuairand_dir}"])
    examples, counts = run(settings, tmp_path)

    assert counts["read"] == 198_895
    assert (counts["equal_rows"], counts["equal_keys"]) == (4_931, 381)
    assert (counts["duplicates"], counts["rejected"], counts["out_of_range"]) == (5_312, 0, 0)
    assert (counts["train"], counts["valid"], counts["eval"]) == (149_732, 17_200, 26_651)
    assert counts["unmatched"] == {"user": 0, "video": 0}
    rare = {t: n for t, n in counts["scenarios"].items() if t not in settings.scenario.names}
    assert counts["other_scenario_rows"] == sum(rare.values()) > 0

    files = tf.io.gfile.glob(f"{examples.uri}/Split-valid/*")
    spec = {
        "click": tf.io.FixedLenFeature([], tf.int64),
        "hourmin": tf.io.FixedLenFeature([], tf.float32),
    }
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP"))
    rows = tf.io.parse_example(tf.stack(records), spec)
    # No zero is lost: every row has a label, and both kinds and midnight are there.
    assert np.bincount(rows["click"]).sum() == counts["valid"]
    assert (np.bincount(rows["click"]) > 5000).all()
    assert rows["hourmin"].numpy().min() == 0.0
