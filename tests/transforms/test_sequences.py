"""The history's part of the tf.Transform graph against values worked out in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from transforms.history import MISSING
from transforms.preprocessing import preprocessing_fn

T, M, BUCKETS = 3, 3, 4
ITEMS = ["video", "author"]
CONFIG = {
    "categorical": ["user", "video", "author"],
    "numeric": [],
    "num_buckets": 4,
    "scenario_column": "tab",
    "day_column": "_day",
    "scenarios": ["1", "0", "other"],
    "tasks": ["click"],
    "history": {
        "items": ITEMS,
        "scenario": "tab",
        "labels": ["click"],
        "age": True,
        "age_buckets": BUCKETS,
        "length": T,
    },
}
TYPES = {
    **dict.fromkeys(["user", "video", "author", "tab"], tf.string),
    **dict.fromkeys(["history:video", "history:author", "history:tab"], tf.string),
    **dict.fromkeys(["history:click", "history:age"], tf.float32),
    **dict.fromkeys(["click", "_day"], tf.int64),
}
SPEC = {name: tf.io.VarLenFeature(dtype) for name, dtype in TYPES.items()}
REQUEST = {name: spec for name, spec in SPEC.items() if name not in ("click", "_day")}
OUTPUTS = ("history_keys", "history_properties", "history_length")
ROWS = 24


def _row(number: int, size: int, age_unit: float = 1.0) -> dict[str, list[Any]]:
    """A row with a history of `size` behaviours; of every third behaviour the author is missing."""
    behaviours = [7 * number + 3 * i for i in range(size)]
    return {
        "user": [b"u%d" % (number % 5)],
        "video": [b"%d" % (number % 11)],
        "author": [b"a"] if number % 2 else [],
        "tab": [b"1"],
        "history:video": [b"%d" % (b % 11) for b in behaviours],
        "history:author": [MISSING if b % 3 == 0 else b"a" for b in behaviours],
        "history:tab": [[b"1", b"0", b"tab of tomorrow"][b % 3] for b in behaviours],
        "history:click": [float(b % 2) for b in behaviours],
        "history:age": [age_unit * (1 + 10 * (size - i) + number) for i in range(size)],
        "click": [number % 2],
        "_day": [738_000],
    }


def _rows(age_unit: float = 1.0) -> list[dict[str, list[Any]]]:
    return [_row(number, number % 6, age_unit) for number in range(ROWS)]


def _fit(folder: Path, rows: list[dict[str, Any]]) -> tuple[str, dict[str, np.ndarray]]:
    """The graph's folder, and the examples that it was fitted on, transformed as for training."""
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    with tft_beam.Context(temp_dir=str(folder / "tmp"), force_tf_compat_v1=True):
        (data, _), transform_fn = (rows, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, CONFIG)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder))
    return str(folder), {name: np.stack([row[name] for row in data]) for name in data[0]}


def _serialized(rows: Sequence[dict[str, Any]]) -> tf.Tensor:
    examples = []
    for row in rows:
        features = {}
        for name, values in row.items():
            if TYPES[name] == tf.string:
                kind = {"bytes_list": tf.train.BytesList(value=values)}
            elif TYPES[name] == tf.float32:
                kind = {"float_list": tf.train.FloatList(value=values)}
            else:
                kind = {"int64_list": tf.train.Int64List(value=values)}
            features[name] = tf.train.Feature(**kind)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(example.SerializeToString())
    return tf.constant(examples)


def _serve(graph: str, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    layer = tft.TFTransformOutput(graph).transform_features_layer()
    out = layer(tf.io.parse_example(_serialized(rows), REQUEST))
    return {name: value.numpy() for name, value in out.items()}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, np.ndarray]]:
    return _fit(tmp_path_factory.mktemp("graph"), _rows())


def test_shapes_and_types(graph) -> None:
    spec = tft.TFTransformOutput(graph[0]).transformed_feature_spec()
    assert spec["history_keys"] == tf.io.FixedLenFeature([T, len(ITEMS)], tf.int64)
    width = M + BUCKETS + 1
    assert spec["history_properties"] == tf.io.FixedLenFeature([T, width], tf.float32)
    assert spec["history_length"] == tf.io.FixedLenFeature([], tf.int64)


def test_a_behaviour_has_the_keys_of_its_items_own_fields(graph) -> None:
    _, found = graph
    own: dict[tuple[int, Any], int] = {}
    for row, keys in zip(_rows(), found["keys"], strict=True):
        for column, item in enumerate(ITEMS):
            value = (row[item] or [MISSING])[0]
            assert own.setdefault((column, value), keys[1 + column]) == keys[1 + column]
    seen = set()
    for row, keys in zip(_rows(), found["history_keys"], strict=True):
        for column, item in enumerate(ITEMS):
            values = row[f"history:{item}"][-T:]
            for step, value in enumerate(values):
                assert keys[step, column] == own[column, value]
                seen.add((column, value))
            assert (keys[len(values) :, column] == 0).all()
    assert (1, MISSING) in seen and len(seen) > 8


def test_properties_are_scenario_age_and_labels_of_the_newest(graph) -> None:
    _, found = graph
    rows = _rows()
    assert found["history_length"].tolist() == [min(number % 6, T) for number in range(ROWS)]
    bucket_of: dict[float, int] = {}
    for row, properties in zip(rows, found["history_properties"], strict=True):
        tabs, ages, clicks = (row[f"history:{p}"][-T:] for p in ("tab", "age", "click"))
        size = len(tabs)
        scenario, age, click = np.split(properties, [M, M + BUCKETS], axis=1)
        listed = {b"1": 0, b"0": 1}
        assert scenario[:size].argmax(1).tolist() == [listed.get(tab, 2) for tab in tabs]
        assert (scenario[:size].sum(1) == 1).all() and (age[:size].sum(1) == 1).all()
        assert click[:size, 0].tolist() == clicks
        assert not properties[size:].any()
        for value, bucket in zip(ages, age[:size].argmax(1), strict=True):
            assert bucket_of.setdefault(value, bucket) == bucket
    in_order = [bucket_of[age] for age in sorted(bucket_of)]
    assert in_order == sorted(in_order) and set(in_order) == set(range(BUCKETS))


def test_the_unit_of_ages_does_not_matter(graph, tmp_path: Path) -> None:
    _, found = _fit(tmp_path, _rows(age_unit=1000.0))
    np.testing.assert_array_equal(found["history_properties"], graph[1]["history_properties"])


def test_requests_get_what_training_gets(graph) -> None:
    """All at once, and in parts: alone, and with no history in the whole request."""
    folder, found = graph
    rows = [{k: v for k, v in row.items() if k in REQUEST} for row in _rows()]
    for part in (slice(0, ROWS), slice(4, 5), slice(0, 1), slice(0, ROWS, 6)):
        served = _serve(folder, rows[part])
        for name in ("keys", *OUTPUTS):
            np.testing.assert_array_equal(served[name], found[name][part], err_msg=name)
    without = [{k: v for k, v in row.items() if not k.startswith("history:")} for row in rows]
    served = _serve(folder, without)
    assert not any(served[name].any() for name in OUTPUTS)
    assert served["history_keys"].shape == (ROWS, T, len(ITEMS))
    np.testing.assert_array_equal(served["keys"], found["keys"])


def test_ages_that_training_never_saw(graph) -> None:
    row = {k: v for k, v in _row(1, 2).items() if k in REQUEST}
    ages = _serve(graph[0], [{**row, "history:age": [1e30, -5.0]}])["history_properties"]
    assert ages[0, :2, M : M + BUCKETS].argmax(1).tolist() == [BUCKETS - 1, 0]


def test_columns_of_different_lengths_are_refused(graph) -> None:
    row = {k: v for k, v in _row(1, 2).items() if k in REQUEST}
    with pytest.raises(tf.errors.InvalidArgumentError, match="should have equally many values"):
        _serve(graph[0], [{**row, "history:click": [1.0]}])


@pytest.mark.parametrize("name", ["history:click", "history:age"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_by_name(graph, name: str, value: float) -> None:
    rows = _rows()[2:4]
    rows[1] = {**rows[1], name: [value, *rows[1][name][1:]]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"found NaN or an inf.*{name}"):
        _serve(graph[0], rows)
