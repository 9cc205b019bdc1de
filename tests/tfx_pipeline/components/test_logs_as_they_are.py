"""What LogExampleGen does of days that arrive again, late outcomes, columns that change."""

from __future__ import annotations

import json

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from tfx import v1 as tfx

from tfx_pipeline.artifacts import FeatureState, IngestReport
from tfx_pipeline.components.log_example_gen import LogExampleGen
from tfx_pipeline.config import Config
from tfx_pipeline.runners.beam_options import LOCAL
from transforms.problems import InputError

_CONFIG = """
name: small
data:
  logs: "log-{YYYY}-{MM}-{DD}.parquet"
  event_key: [event]
  event_time: time
  user: user
  clock: {unit: s}
  attribution_window: 1d
  outcomes:
    files: "outcomes-{YYYY}-{MM}-{DD}.csv"
    key: [event]
    time: time
    columns: {clicks: {value: "kind == 'click'", take: sum}}
  train: 2024-01-01
  valid: 2024-01-02
  eval: 2024-01-03
features: {categorical: [user, country], numeric: [length]}
scenario: {column: tab, values: [feed]}
tasks: {click: {label: clicks >= 1}}
"""
_MIDNIGHT = 1_704_067_200  # 2024-01-01
_ROWS = 8


@pytest.fixture
def raw(tmp_path):
    """A config; three days of 8 rows each. A click on every other one, on its day or the next."""
    for day in range(4):
        if day < 3:
            write_day(tmp_path, day)
        write_outcomes(tmp_path, day)
    raw = yaml.safe_load(_CONFIG)
    raw["data"]["path"] = str(tmp_path)
    return raw


def table(day, rows=_ROWS):
    events = range(rows)
    return pa.table(
        {
            "event": [f"{day}-{i}" for i in events],
            "time": [_MIDNIGHT + 86_400 * day + 3_600 * i for i in events],
            "user": [f"u{i % 3}" for i in events],
            "country": ["de"] * rows,
            "length": [float(i) for i in events],
            "tab": ["feed"] * rows,
        }
    )


def write_day(folder, day, rows=None):
    pq.write_table(table(day) if rows is None else rows, folder / f"log-2024-01-0{day + 1}.parquet")


def write_outcomes(folder, day):
    """Clicks on events 0 and 4 of the day, and on 2 and 6 of the day before."""
    lines = ["event,time,kind"]
    for of_day, events in ((day, (0, 4)), (day - 1, (2, 6))):
        if 0 <= of_day < 3:
            lines += [
                f"{of_day}-{i},{_MIDNIGHT + 86_400 * of_day + 3_600 * i + 9},click" for i in events
            ]
    (folder / f"outcomes-2024-01-0{day + 1}.csv").write_text("\n".join([*lines, ""]))


def run(raw, out, days):
    examples = tfx.types.standard_artifacts.Examples()
    report, state = IngestReport(), FeatureState()
    for artifact, name in ((examples, "examples"), (report, "report"), (state, "state")):
        artifact.uri = str(out / name)
    config = Config.model_validate(raw)
    LogExampleGen.test_call(
        examples=examples,
        ingest_report=report,
        feature_state=state,
        config=config.model_dump_json(include={"data", "features", "scenario", "tasks"}),
        inputs="",
        rejected_dir=str(out / "rejected"),
        days_dir=str(days),
        beam_pipeline=beam.Pipeline(options=PipelineOptions(LOCAL)),
    )
    return examples, json.loads((out / "report" / "counts.json").read_text())


def clicks(examples, split):
    paths = tf.io.gfile.glob(f"{examples.uri}/Split-{split}/*")
    records = tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator()
    found = [tf.train.Example.FromString(record).features.feature for record in records]
    return sum(feature["click"].int64_list.value[0] for feature in found)


def test_at_once_and_corrected_later(raw, tmp_path):
    last = tmp_path / "outcomes-2024-01-04.csv"
    text = last.read_text()
    last.unlink()
    raw["data"]["outcomes"]["trainable"] = "at_once"
    examples, counts = run(raw, tmp_path / "1", tmp_path / "days")
    assert counts["outcomes"]["open_days"] == ["2024-01-03"]
    assert (counts["outcomes"]["matched"], counts["outcomes"]["unmatched"]) == (10, 0)
    assert counts["outcomes"]["matched_by_days_after"] == {"0": 6, "1": 4}
    assert [clicks(examples, split) for split in ("train", "valid", "eval")] == [4, 4, 2]
    assert (counts["arrived_again"], examples.version) == ([], 0)

    last.write_text(text)
    examples, counts = run(raw, tmp_path / "2", tmp_path / "days")
    assert counts["outcomes"]["open_days"] == []
    assert [clicks(examples, split) for split in ("train", "valid", "eval")] == [4, 4, 4]
    assert counts["arrived_again"] == [
        {
            "day": "2024-01-03",
            "version": 1,
            "rows": 8,
            "rows_before": 8,
            "labels": {"click": 4.0},
            "labels_before": {"click": 2.0},
        }
    ]
    assert (examples.version, examples.span) == (1, 19_725)


def test_a_day_that_arrives_again_with_late_rows(raw, tmp_path):
    first = table(1, 6)
    write_day(tmp_path, 1, first)
    days = tmp_path / "days"
    _, counts = run(raw, tmp_path / "1", days)
    assert (counts["valid"], counts["arrived_again"]) == (6, [])
    # The same rows in another order, in two files and some of them twice: the same day.
    write_day(tmp_path, 1, first.take(pa.array([3, 1, 2, 0, 5, 4])))
    raw["data"]["logs"] = "log-{YYYY}-{MM}-{DD}*.parquet"
    pq.write_table(first.slice(0, 3), tmp_path / "log-2024-01-02b.parquet")
    examples, counts = run(raw, tmp_path / "2", days)
    assert (counts["valid"], counts["duplicates"]) == (6, 3)
    assert (counts["arrived_again"], examples.version) == ([], 0)
    # All of it again, with two rows that are late: counted once.
    pq.write_table(table(1), tmp_path / "log-2024-01-02b.parquet")
    examples, counts = run(raw, tmp_path / "3", days)
    assert (counts["valid"], counts["duplicates"]) == (8, 6)
    (again,) = counts["arrived_again"]
    assert (again["day"], again["version"], again["rows"]) == ("2024-01-02", 1, 8)
    assert examples.version == 1


def test_changes_of_the_schema_are_reported_or_stop(raw, tmp_path):
    changed = table(2).append_column("session", pa.array(["s"] * _ROWS))
    changed = changed.set_column(4, "length", changed["length"].cast(pa.int64()))
    tabs = pa.array(["map", *["feed"] * (_ROWS - 1)])
    write_day(tmp_path, 2, changed.set_column(5, "tab", tabs))
    _, counts = run(raw, tmp_path / "1", tmp_path / "days")
    path = f"{tmp_path}/log-2024-01-03.parquet"
    listed = [(c["kind"], c["where"], c["found"]) for c in counts["schema_changes"]]
    assert listed == [
        ("new_column", path, "a new column `session`"),
        ("type_change", path, "column `length` of another type: int64"),
        ("new_value", "data.eval", "values of `tab` that data.train lacks: 'map' in 1 rows"),
    ]
    policy = {"new_column": "stop", "type_change": "stop", "new_value": "stop"}
    raw["data"]["schema_changes"] = policy
    with pytest.raises(InputError) as caught:
        run(raw, tmp_path / "2", tmp_path / "days")
    assert [problem.found for problem in caught.value.problems] == [found for *_, found in listed]
    # A later run is compared with what the last one left, not with itself.
    raw["data"] |= {"schema_changes": {}, "train": "2024-01-04", "valid": "2024-01-05"}
    raw["data"]["eval"] = "2024-01-06"
    for day in (3, 4, 5):
        write_day(tmp_path, day, table(day).drop(["country"]))
        write_outcomes(tmp_path, day + 1)
    raw["features"]["categorical"] = ["user"]
    _, counts = run(raw, tmp_path / "3", tmp_path / "days")
    assert [c["found"] for c in counts["schema_changes"]] == [
        *("no column `country`", "no column `session`"),
        "column `length` widened: double",
    ]


def test_a_column_gone_and_cells_of_another_type(raw, tmp_path):
    text = pa.array(["long"] * 5 + ["1.5"] * 3)
    write_day(tmp_path, 1, table(1).drop(["country"]).set_column(3, "length", text))
    for policy in ({}, {"column_gone": "fill"}):
        raw["data"]["schema_changes"] = policy
        with pytest.raises(InputError) as caught:
            run(raw, tmp_path / "1", tmp_path / "days")
        gone = "no column `country`" in str(caught.value)
        assert gone == (policy == {})
        assert ("`length` is not a number" in str(caught.value)) != gone
    raw["data"]["schema_changes"] = {"column_gone": "fill", "type_change": "fill"}
    examples, counts = run(raw, tmp_path / "2", tmp_path / "days")
    assert counts["filled"] == {"country": 8, "length": 5}
    assert (counts["valid"], counts["rejected"]) == (8, 0)
    (path,) = tf.io.gfile.glob(f"{examples.uri}/Split-valid/*")
    rows = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()
    ]
    assert not any(row["country"].bytes_list.value for row in rows)
    lengths = [value for row in rows for value in row["length"].float_list.value]
    assert lengths == [1.5] * 3
    # In no file at all a column is misspelt, not gone.
    raw["features"]["categorical"] = ["user", "contry"]
    with pytest.raises(InputError, match="no column `contry` in the log.*Did you mean `country`"):
        run(raw, tmp_path / "3", tmp_path / "days")
