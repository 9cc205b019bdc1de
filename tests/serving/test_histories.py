"""Histories in requests: from raw columns to the model, through every way of asking."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from serving import versions
from serving.client import Client, PredictError
from serving.cpp_loader import run_in_fresh_process
from serving.export import export
from serving.model_server import ModelServer

T = 3
COLUMNS = ["user_id", "item_id", "tab"]
HISTORIES = ["history:item_id", "history:tab", "history:click", "history:age"]
ROWS: list[dict[str, Any]] = [
    {
        "user_id": f"u{n % 4}",
        "item_id": f"i{n % 7}",
        "tab": "feed" if n % 2 else "search",
        "history:item_id": [None if b % 3 == 2 else f"i{b % 7}" for b in range(n, n + n % 5)],
        "history:tab": ["feed" if b % 2 else "new" for b in range(n, n + n % 5)],
        "history:click": [float(b % 2) for b in range(n, n + n % 5)],
        "history:age": [100.0 + n - b for b in range(n % 5)],
    }
    for n in range(30)
]


class Told(tf.Module):
    """A model whose outputs tell what it was given."""

    def for_serving(self, item_fields: Collection[str] = (), embedding_rows: str = "") -> tf.Module:
        return self

    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        keys = tf.cast(inputs["history_keys"] % 1009, tf.float32)
        weights = tf.range(1.0, T + 1)
        return {
            "click": tf.cast(inputs["history_length"], tf.float32),
            "keys": tf.reduce_sum(keys[:, :, 0] * weights, axis=1),
            "properties": tf.reduce_sum(inputs["history_properties"] * weights[:, None], [1, 2]),
        }


def _serialized(rows: Sequence[dict[str, Any]], **more: list[int]) -> list[bytes]:
    examples = []
    for row in rows:
        features = {
            name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
            for name, values in more.items()
        }
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            if name in ("history:click", "history:age"):
                kind = {"float_list": tf.train.FloatList(value=values)}
            else:
                texts = [b"\xff" if text is None else text.encode() for text in values]
                kind = {"bytes_list": tf.train.BytesList(value=texts)}
            features[name] = tf.train.Feature(**kind)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(example.SerializeToString())
    return examples


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The project's transform graph, fitted on the rows with a label."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.public import tfxio

    from transforms.preprocessing import preprocessing_fn

    types = dict.fromkeys([*COLUMNS, *HISTORIES[:2]], tf.string)
    types |= {**dict.fromkeys(HISTORIES[2:], tf.float32), "click": tf.int64, "_day": tf.int64}
    spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in types.items()}
    schema = schema_utils.schema_from_feature_spec(spec)
    reader = tfxio.TFExampleBeamRecord("tests", schema=schema)
    config = {
        "categorical": ["user_id", "item_id"],
        "numeric": [],
        "num_buckets": 4,
        "scenario_column": "tab",
        "day_column": "_day",
        "scenarios": ["feed", "search", "other"],
        "tasks": ["click"],
        "history": {
            "items": ["item_id"],
            "scenario": "tab",
            "labels": ["click"],
            "age": True,
            "age_buckets": 4,
            "length": T,
        },
    }
    folder = tmp_path_factory.mktemp("transform")
    with (
        beam.Pipeline(runner=fn_runner.FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "tmp"), force_tf_compat_v1=True),
    ):
        rows = pipeline | beam.Create(_serialized(ROWS, click=[1], _day=[1])) | reader.BeamSource()
        fitted = (rows, reader.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        fitted | tft_beam.WriteTransformFn(str(folder / "output"))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR),
    )
    return tft.TFTransformOutput(str(folder / "output"))


@pytest.fixture(scope="module")
def exported(graph: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model"
    export(Told(), graph, COLUMNS, ["click"], str(path), histories=HISTORIES)
    return path


@pytest.fixture(scope="module")
def expected(graph: Any) -> dict[str, np.ndarray]:
    """What the model says of the inputs that training gets."""
    spec = {name: graph.raw_feature_spec()[name] for name in [*COLUMNS, *HISTORIES]}
    inputs = graph.transform_features_layer()(tf.io.parse_example(_serialized(ROWS), spec))
    outputs = {name: value.numpy() for name, value in Told()(inputs).items()}
    assert set(outputs["click"]) == set(range(T + 1)) and np.std(outputs["keys"]) > 100
    return outputs


def test_a_request_carries_them(exported: Path) -> None:
    columns = tf.saved_model.load(str(exported)).signatures["request_columns"]()
    found = {kind: [name.decode() for name in names.numpy()] for kind, names in columns.items()}
    assert found["histories"] == HISTORIES
    assert found["text"] == [*COLUMNS, *HISTORIES[:2]] and found["numeric"] == HISTORIES[2:]


def test_they_reach_the_model_as_in_training(exported: Path, expected: Any) -> None:
    """Through TensorFlow Serving's loader as well, which knows nothing of the project."""
    examples = _serialized(ROWS)
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    for outputs in (
        signature(examples=tf.constant(examples)),
        run_in_fresh_process(exported, examples),
    ):
        for name, values in expected.items():
            np.testing.assert_allclose(outputs[name], values, rtol=1e-6)
    alone = signature(examples=tf.constant(_serialized([{"user_id": "u1"}])))
    assert {name: float(value[0]) for name, value in alone.items()} == dict.fromkeys(expected, 0.0)


def test_a_client_sends_lists(exported: Path, expected: Any, tmp_path: Path) -> None:
    versions.push(exported, tmp_path, keep=1)
    with ModelServer(tmp_path, "told") as server, Client(server.address) as client:
        assert client.columns("told").histories == tuple(HISTORIES)
        scores = client.predict("told", ROWS)
        for name, values in expected.items():
            np.testing.assert_allclose(scores[name], values, rtol=1e-6)
        with pytest.raises(ValueError, match="row 1, history:tab: found 'feed'; expected a list"):
            client.predict("told", [{"history:tab": "feed"}])
        with pytest.raises(ValueError, match="row 1, history:age: found None; expected a finite"):
            client.predict("told", [{"history:age": [None]}])
        with pytest.raises(PredictError, match="should have equally many values"):
            client.predict("told", [{**ROWS[1], "history:age": [1.0, 2.0]}])


def test_the_command_line_fills_them_from_a_state(
    exported: Path, expected: Any, tmp_path: Path
) -> None:
    """Row 3 of the rows, as a state that holds its history and what came at its time and later."""
    from typer.testing import CliRunner

    from tfx_pipeline.cli import app

    row, now = ROWS[3], 5000.0
    history = {
        "user": "user_id",
        "time": "ms",
        "items": ["item_id"],
        "scenario": "tab",
        "labels": ["click"],
        "age": True,
        "length": 5,
    }
    later = 2
    table = {
        "user": [row["user_id"]] * 5,
        "time": [*(now - age for age in row["history:age"]), now, now + 1],
        **{name: row[name] + row[name][:1] * later for name in HISTORIES[:3]},
    }
    state = tmp_path / "state"
    (state / "histories").mkdir(parents=True)
    (state / "state.json").write_text(json.dumps({"format": 3, "history": history}))
    pq.write_table(pa.table(table), state / "histories" / "00000-of-00001.parquet")
    versions.push(exported, tmp_path / "models", keep=1)
    request = {name: row[name] for name in COLUMNS} | {"ms": now}

    def ask(row: dict[str, Any], *options: str) -> Any:
        command = ["predict", "told", json.dumps(row), "--address", server.address, *options]
        return CliRunner().invoke(app, [*command, "--json"])

    with ModelServer(tmp_path / "models", "told") as server:
        done = ask(request, "--state", str(state))
        assert done.exit_code == 0, done.output
        scores = json.loads(done.stdout)
        assert {name: pytest.approx(values[3]) for name, values in expected.items()} == scores
        assert ask(request).exit_code == 2
        assert ask({"user_id": "u3"}, "--state", str(state)).exit_code == 2
        del request["ms"]
        assert json.loads(ask(request).stdout)["click"] == 0.0


def test_a_feature_that_is_no_history(graph: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found history:like; expected raw features"):
        export(Told(), graph, COLUMNS, ["click"], str(tmp_path / "m"), histories=["history:like"])
    with pytest.raises(ValueError, match="expected all that .*history_keys"):
        export(Told(), graph, COLUMNS, ["click"], str(tmp_path / "m"), histories=HISTORIES[:2])
