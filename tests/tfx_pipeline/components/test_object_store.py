"""Logs in an S3-compatible store, which runs on this machine."""

from __future__ import annotations

import json

import apache_beam as beam
import boto3
import pytest
import tensorflow as tf
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from moto.server import ThreadedMotoServer
from tfx import v1 as tfx

from tfx_pipeline.artifacts import FeatureState, IngestReport
from tfx_pipeline.check import check
from tfx_pipeline.components.log_example_gen import LogExampleGen
from tfx_pipeline.config import Config
from tfx_pipeline.inputs import before_any_pipeline, find_inputs, fingerprint_inputs
from tfx_pipeline.runners.beam_options import LOCAL
from tfx_pipeline.simulate import simulate
from transforms.arrival import check_unchanged, file_marks
from transforms.problems import InputError

_CONFIG = """
name: small
data:
  logs: "day={YYYY}-{MM}-{DD}/*"
  success_marker: "day={YYYY}-{MM}-{DD}/_SUCCESS"
  event_key: [event_id]
  event_time: time_ms
  user: user_id
  train: 2024-01-01
  valid: 2024-01-02
  eval: 2024-01-03
features: {categorical: [user_id, item_id, tab], numeric: [item_duration_s]}
scenario: {column: tab, values: [feed]}
tasks: {click: {label: is_click == 1}}
"""
_BUCKET = "logs"

# Beam makes a client of the store for every call, which takes a second.
pytestmark = pytest.mark.e2e


@pytest.fixture
def store(monkeypatch):
    """A client of the store, which Beam finds as any program of AWS does."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=_BUCKET)
    yield client
    server.stop()


@pytest.fixture
def local(tmp_path, store):
    """Three days, on the disk and in the store."""
    for path in simulate(tmp_path / "drawn", days=3, rows_per_day=300):
        folder = tmp_path / "logs" / path.stem
        folder.mkdir(parents=True)
        path.rename(folder / "part-0.parquet")
        (folder / "_SUCCESS").touch()
        for name in ("part-0.parquet", "_SUCCESS"):
            store.upload_file(str(folder / name), _BUCKET, f"a/{path.stem}/{name}")
    return tmp_path / "logs"


def _config(path, **changes):
    raw = yaml.safe_load(_CONFIG)
    raw["data"] |= {"path": str(path), **changes}
    return Config.model_validate(raw)


def _run(config, out):
    artifacts = {
        "examples": tfx.types.standard_artifacts.Examples(),
        "ingest_report": IngestReport(),
        "feature_state": FeatureState(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(out / name)
    LogExampleGen.test_call(
        **artifacts,
        config=config.model_dump_json(include={"data", "features", "scenario", "tasks"}),
        inputs="",
        rejected_dir=str(out / "rejected"),
        days_dir=str(out / "days"),
        beam_pipeline=beam.Pipeline(options=PipelineOptions(LOCAL)),
    )
    files = sorted(str(path) for path in (out / "examples").rglob("*.gz"))
    records = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    counts = json.loads((out / "ingest_report" / "counts.json").read_text())
    return counts, [tf.train.Example.FromString(record) for record in records]


def test_a_store_gives_what_the_disk_gives(local, store, tmp_path):
    config = _config(f"s3://{_BUCKET}/a")
    assert fingerprint_inputs(config) == fingerprint_inputs(_config(local))
    counts, examples = _run(config, tmp_path / "store")
    expected, expected_examples = _run(_config(local), tmp_path / "disk")
    assert [file["path"] for file in counts.pop("files")] == [
        f"s3://{_BUCKET}/a/day=2024-01-0{day}/part-0.parquet" for day in (1, 2, 3)
    ]
    expected.pop("files")
    assert counts == expected
    assert counts["read"] == 900
    assert len(examples) == 900 - counts["duplicates"]
    assert examples == expected_examples


def test_what_is_not_there_is_said(local, store):
    config = _config(f"s3://{_BUCKET}/a")
    assert check(config).problems == ()
    before_any_pipeline()
    (unsettled, *others) = find_inputs(_config(f"s3://{_BUCKET}/a", settle="1h")).problems
    assert unsettled.where == f"s3://{_BUCKET}/a/day=2024-01-01/part-0.parquet"
    assert len(others) == 2
    store.delete_object(Bucket=_BUCKET, Key="a/day=2024-01-02/_SUCCESS")
    store.delete_object(Bucket=_BUCKET, Key="a/day=2024-01-03/part-0.parquet")
    assert [problem.where for problem in check(config).problems] == [
        f"s3://{_BUCKET}/a/day=2024-01-03/*",
        f"s3://{_BUCKET}/a/day=2024-01-02/_SUCCESS",
    ]


def test_an_object_that_changes_while_it_is_read_is_seen(local, store):
    before_any_pipeline()
    before = file_marks(find_inputs(_config(f"s3://{_BUCKET}/a")).paths)
    check_unchanged(before)
    store.put_object(Bucket=_BUCKET, Key="a/day=2024-01-02/part-0.parquet", Body=b"x")
    with pytest.raises(InputError, match="day=2024-01-02/part-0.parquet: found a change while it"):
        check_unchanged(before)


def test_a_store_that_is_not_there(store):
    before_any_pipeline()
    problems = find_inputs(_config("s3://nowhere/a")).problems
    assert {problem.found for problem in problems} == {"no such file"}
    (problem,) = find_inputs(_config("abc://x/a")).problems
    assert "Unable to get filesystem" in problem.found
