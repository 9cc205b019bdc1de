"""LogExampleGen as TFX runs it: what it leaves, and what it says of logs it cannot use."""

from __future__ import annotations

import collections
import gzip
import json
import shutil

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from tfx import v1 as tfx

from tfx_pipeline.artifacts import IngestReport
from tfx_pipeline.components.log_example_gen import LogExampleGen, fingerprint_inputs
from tfx_pipeline.config import Config, load_config
from transforms.problems import InputError

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
features: {categorical: [user_id, item_id, author], numeric: [play_ms]}
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
        rows = [
            f"{user},{user % 5},2024010{day},{1000 * day + user},feed,{user % 2},{user}.5"
            for user in range(40)
        ]
        write_day(folder, day, rows)
    items = [f"{item},a{item},{10 * item}" for item in range(4)]
    (folder / "item.csv").write_text("\n".join(["item_id,author,duration", *items]))
    return folder


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
    LogExampleGen.test_call(
        examples=examples,
        ingest_report=report,
        config=settings.model_dump_json(include=set(keep)),
        inputs=fingerprint_inputs(settings),
        code="1",
        rejected_dir=str(out / "rejected"),
        beam_pipeline=beam.Pipeline(options=PipelineOptions([_RUNNER])),
    )
    return examples, json.loads((out / "report" / "counts.json").read_text())


def read_examples(examples, split):
    files = sorted(tf.io.gfile.glob(f"{examples.uri}/Split-{split}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.train.Example.FromString(r.numpy()).features.feature for r in records]


def fails(settings: Config, out) -> str:
    with pytest.raises(InputError) as caught:
        run(settings, out)
    return str(caught.value)


@pytest.mark.kuairand
def test_counts_of_the_real_slice(kuairand_dir, tmp_path):
    settings = load_config("configs/kuairand.yaml", [f"data.path={kuairand_dir}"])
    examples, counts = run(settings, tmp_path)

    assert counts["read"] == 198_895
    assert (counts["equal_rows"], counts["equal_keys"]) == (4_931, 381)
    assert (counts["duplicates"], counts["rejected"], counts["out_of_range"]) == (5_312, 0, 0)
    assert (counts["train"], counts["valid"], counts["eval"]) == (149_732, 17_200, 26_651)
    assert counts["unmatched"] == {"user": 0, "video": 0}
    clicks = collections.Counter()
    for row in read_examples(examples, "valid"):
        clicks[row["click"].int64_list.value[0]] += 1
        assert row["hourmin"].float_list.value[0] >= 0
    assert sum(clicks.values()) == counts["valid"]
    assert clicks[0] > 0 and clicks[1] > 0
