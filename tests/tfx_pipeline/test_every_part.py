"""One job with every kind of task and every part that a model can have, end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from serving import versions
from serving.cpp_loader import answer_in_fresh_process
from serving.delta import read_version
from serving.warmup import WARMUP_REQUESTS
from tfx_pipeline.simulate import simulate

from ..command_line import equipoise
from .simulated_job import CONFIG

pytestmark = pytest.mark.e2e

# One to TensorFlow, or the name of something else, or signs that a page could take amiss.
ODD_NAMES = {
    "user_group": "a/b",
    "item_category": "a:b",
    "item_duration_s": "numbers",
    "user_activity": "<i>a.b, [red]c",
    "item_age_days": "1",
    "author_id": "inputs",
}
ODD_SCENARIOS = {"search": "a/b", "nearby": "<i>[b] {c}, d"}

CHANGES = """
name: everything
data:
  event_key: [event_id, user_id, hour]
  request: [user_id, hour]
features:
  categorical: [user_id, item_id, inputs, tab, a/b, "a:b", hour, item_id_tab]
  numeric: ["1", numbers, "<i>a.b, [red]c"]
  history: {items: [item_id, inputs], labels: [click], length: 5}
  statistics:
  - {by: [item_id, tab], of: [click]}
  - {by: [item_id_tab], of: [click]}
  - {by: [tab], of: [click]}
scenario: {values: [feed, a/b, "<i>[b] {c}, d"]}
tasks:
  long_view: {label: play_time_s >= 0.5 * numbers}
  like: {label: is_click == 1 and is_like == 1, after: click, true_probability: null}
  watched: {label: "min(play_time_s / numbers, 1)", kind: regression, space: is_click == 1}
  depth: {label: is_click + is_like, kind: multiclass, classes: 3, gamma: 0.9}
  order: {label: is_click == 1, kind: ranking}
  both: {label: is_click == 1 and is_profile_enter == 1}
model:
  preset: hinet
  embedding: {dim: 8, capacity: 16384}
  missing_values: true
  behaviour_sequence: {units: 8, attention_units: 4}
  epnet: {hidden_units: 8}
  ppnet: {hidden_units: 8, prior: [user_id, item_id, inputs]}
  head: esmm
  fusion:
    weights: {click: 1, like: 0.5}
    length: {column: numbers, function: log1p, missing: 10}
  loss:
    weighting: uncertainty
    kl_bounds: [{product: [click, profile_enter], equals: both, weight: 0.1}]
training: {epochs: 1, batch_size: 512}
gate: {auc_floor: 0.3}
serving:
  delta: {min_updates: 2}
  item_columns: [item_id, inputs, "a:b", "1", numbers, item_id_tab]
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything")
    simulate(folder / "logs", days=7, rows_per_day=2_000)
    for path in (folder / "logs").glob("*.parquet"):
        rows = pd.read_parquet(path).rename(columns=ODD_NAMES)
        rows["tab"] = rows["tab"].replace(ODD_SCENARIOS)
        rows["item_id_tab"] = rows["item_id"].astype(str) + rows["tab"]
        rows.to_parquet(path, index=False)
    changes = {"extends": str(CONFIG), **yaml.safe_load(CHANGES)}
    (folder / "job.yaml").write_text(yaml.safe_dump(changes, sort_keys=False))
    arguments = ("--workdir", folder / "work", "--set", f"data.path={folder / 'logs'}")
    done = equipoise("run", folder / "job.yaml", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "work"


def test_each_kind_of_task_has_its_metrics(workdir: Path) -> None:
    summary: dict[str, Any] = json.loads((workdir / "summary.json").read_text())
    pool = {cell["task"]: cell for cell in summary["metrics"] if cell["scenario"] == "*"}
    assert list(pool) == [
        *("click", "long_view", "like", "profile_enter"),
        *("watched", "depth", "order", "both"),
    ]
    assert 0.55 < pool["click"]["auc"] < 1 and 0.55 < pool["order"]["auc"] < 1
    assert pool["watched"]["auc"] is None and 0 < pool["watched"]["mse"] < 0.5
    assert pool["watched"]["examples"] == pool["click"]["positives"]
    assert pool["depth"]["auc"] is None and 0 < pool["depth"]["logloss"] < np.log(3)


def test_scenarios_keep_their_names(workdir: Path) -> None:
    summary: dict[str, Any] = json.loads((workdir / "summary.json").read_text())
    rows = {cell["scenario"]: cell["examples"] for cell in summary["metrics"]}
    assert list(rows) == ["*", "feed", *ODD_SCENARIOS.values(), "other"]
    assert rows["*"] > rows["feed"] > rows["a/b"] > rows["<i>[b] {c}, d"] > rows["other"] > 0
    page = (workdir / "report" / "index.html").read_text()
    assert "&lt;i&gt;[b] {c}, d" in page and "<i>" not in page


def test_the_pushed_model_serves_every_output(workdir: Path) -> None:
    (version,) = (workdir / "serving" / "everything").glob("[0-9]*")
    model = tf.saved_model.load(str(version))
    values = {"user_id": b"5", "item_id": b"3", "tab": b"feed", "history:item_id": [b"3", b"4"]}
    values |= {"history:inputs": [b"1", b"2"], "history:tab": [b"feed", b"a/b"]}
    features = {
        name: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=value if isinstance(value, list) else [value])
        )
        for name, value in values.items()
    }
    for name, numbers in (("history:click", [1.0, 0.0]), ("history:age", [100.0, 5.0])):
        features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=numbers))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    outputs = model.signatures["serving_default"](
        examples=tf.constant([example.SerializeToString()])
    )
    served = {name: value.numpy()[0] for name, value in outputs.items()}
    assert served["depth"].shape == (3,) and served["depth"].sum() == pytest.approx(1)
    assert served["like"] == pytest.approx(served["click"] * served["like_given_click"], rel=1e-4)
    fused = served["click"] * served["like"] ** 0.5 * np.log1p(10)
    assert served["score"] == pytest.approx(np.log(fused), rel=1e-4)


def test_rows_of_a_request_reach_the_trainer_side_by_side(workdir: Path) -> None:
    (folder,) = (workdir / "pipeline" / "Transform" / "transformed_examples").iterdir()
    files = sorted(map(str, (folder / "Split-train").iterdir()))
    rows = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(100_000)
    spec = {"request": tf.io.FixedLenFeature([], tf.int64)}
    (requests,) = (tf.io.parse_example(batch, spec)["request"].numpy() for batch in rows)
    runs = 1 + np.count_nonzero(requests[1:] != requests[:-1])
    assert runs == len(np.unique(requests)) < 0.95 * len(requests)


def test_weights_of_the_fused_score_are_searched(workdir: Path) -> None:
    done = equipoise("fuse", workdir, "--objective", "gauc(click) + 0.5 * auc(like)")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout[done.stdout.index("model:") :]
    weights = yaml.safe_load(lines)["model"]["fusion"]["weights"]
    assert set(weights) <= {"click", "long_view", "like", "profile_enter", "order", "both"}
    assert any(weights.values())


def test_what_is_pushed_can_be_synced_by_deltas(workdir: Path, tmp_path: Path) -> None:
    base = tmp_path / "everything"
    shutil.copytree(workdir / "serving" / "everything", base)
    (number,) = versions.numbers(base)
    # Nothing has been trained since.
    for command in (
        ["export", base, base / str(number), "--out", tmp_path],
        ["apply", base, tmp_path / f"{number}-001.delta"],
    ):
        done = equipoise("delta", *command)
        assert done.returncode == 0, done.stdout + done.stderr
    whole, made = (read_version(base / str(n)) for n in versions.numbers(base))
    for path, table in whole.tables.items():
        assert (table.sync.updates >= 1).all() and (table.sync.synced == whole.place.day).all()
        assert len(np.unique(table.sync.field)) == len(whole.lineage.fields[0])
        np.testing.assert_array_equal(made.tables[path].rows.values, table.rows.values)
    requests = base / str(number) / WARMUP_REQUESTS
    one, other = (
        answer_in_fresh_process(base / str(n), requests).outputs for n in versions.numbers(base)
    )
    for i, answer in enumerate(one):
        for name, values in answer.items():
            np.testing.assert_array_equal(other[i][name], values)
