"""The tf.Transform graph against values worked out in plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from transforms.dense_transform import DenseTransform
from transforms.preprocessing import preprocessing_fn

CONSTANT = "stat:user_id+tab@1.5d:share, in %"
"""A name that TensorFlow would take for no scope."""

CONFIG = {
    "categorical": ["user_id", "tab"],
    "numeric": ["age", "never", CONSTANT, "tiny"],
    "num_buckets": 4,
    "scenario_column": "tab",
    "day_column": "_day",
    "scenarios": ["1", "0", "other"],
    "tasks": ["click", "like"],
}
SPEC = {
    "user_id": tf.io.VarLenFeature(tf.string),
    "tab": tf.io.VarLenFeature(tf.string),
    "age": tf.io.VarLenFeature(tf.float32),
    "never": tf.io.VarLenFeature(tf.float32),
    CONSTANT: tf.io.VarLenFeature(tf.float32),
    "tiny": tf.io.VarLenFeature(tf.float32),
    "click": tf.io.VarLenFeature(tf.int64),
    "like": tf.io.VarLenFeature(tf.int64),
    "_day": tf.io.VarLenFeature(tf.int64),
}
AGES = [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
ROWS: list[dict[str, Any]] = [
    {
        "user_id": [b"u%d" % (i % 3)],
        "tab": [b"1", b"0", b"7"][i % 3 : i % 3 + 1],
        "age": [age],
        "never": [],
        CONSTANT: [0.1],
        "tiny": [0.0 if i < 9 else i * 1e-12],
        "click": [i % 2],
        "like": [0],
        "_day": [738_000 + i],
    }
    for i, age in enumerate(AGES)
] + [
    {
        "user_id": [],
        "tab": [b"0"],
        "age": [],
        "never": [],
        CONSTANT: [0.1],
        "tiny": [],
        "click": [1],
        "like": [1],
        "_day": [738_012],
    }
]


@pytest.fixture(scope="module")
def graph_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A transform graph fitted on ROWS."""
    folder = str(tmp_path_factory.mktemp("graph"))
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    with tft_beam.Context(temp_dir=folder + "/tmp", force_tf_compat_v1=True):
        transform_fn = (ROWS, metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, CONFIG)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(folder)
    return folder


def apply(graph_dir: str, rows: list[dict[str, Any]], *, labels: bool = True) -> dict[str, Any]:
    import tensorflow_transform as tft

    examples = []
    for row in rows:
        feature = {}
        for name, values in row.items():
            if SPEC[name].dtype == tf.string:
                feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
            elif SPEC[name].dtype == tf.float32:
                feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
            else:
                feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        examples.append(
            tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
        )
    unserved = [*CONFIG["tasks"], CONFIG["day_column"]]
    spec = {k: v for k, v in SPEC.items() if labels or k not in unserved}
    layer = tft.TFTransformOutput(graph_dir).transform_features_layer()
    out = layer(tf.io.parse_example(tf.constant(examples), spec))
    return {name: value.numpy() for name, value in out.items()}


@pytest.fixture(scope="module")
def fitted(graph_dir: str) -> dict[str, Any]:
    return apply(graph_dir, ROWS)


def test_shapes_and_dtypes(fitted: dict[str, Any]) -> None:
    rows, fields, numbers = len(ROWS), 6, 4
    assert fitted["keys"].shape == (rows, fields) and fitted["keys"].dtype == np.int64
    assert fitted["numbers"].shape == (rows, 2 * numbers)
    assert fitted["numbers"].dtype == np.float32
    assert fitted["scenario"].dtype == np.int64
    assert fitted["labels"].dtype == np.float32


def test_scenarios_not_listed_become_other(fitted: dict[str, Any]) -> None:
    expected = [{b"1": 0, b"0": 1, b"7": 2}[row["tab"][0]] for row in ROWS]
    assert fitted["scenario"].tolist() == expected


def test_labels_keep_their_zeros_and_their_order(fitted: dict[str, Any]) -> None:
    assert fitted["day"].tolist() == [row["_day"][0] for row in ROWS]
    assert fitted["labels"].tolist() == [[row["click"][0], row["like"][0]] for row in ROWS]


def test_sample_spaces_and_requests_where_they_are_asked_for() -> None:
    config = {
        **CONFIG,
        "numeric": [],
        "tasks": ["click", "ratio"],
        "spaces": True,
        "request_column": "_request",
    }
    rows: list[dict[str, Any]] = [
        {"click": [0], "ratio": [0.5], "_request": [-3]},
        {"click": [], "ratio": [], "_request": [2**62]},
        {"click": [1], "ratio": [0.0], "_request": [-3]},
    ]
    types = {**dict.fromkeys(["user_id", "tab"], tf.string), "ratio": tf.float32}
    types |= dict.fromkeys(["click", "_request", "_day"], tf.int64)
    inputs = {
        name: tf.ragged.constant([row.get(name, []) for row in rows], dtype).to_sparse()
        for name, dtype in types.items()
    }
    out = preprocessing_fn(inputs, config)
    np.testing.assert_array_equal(out["labels"], [[0, 0.5], [0, 0], [1, 0]])
    np.testing.assert_array_equal(out["spaces"], [[1, 1], [0, 0], [1, 1]])
    assert out["spaces"].dtype == tf.float32
    np.testing.assert_array_equal(out["request"], [-3, 2**62, -3])


def test_no_sample_spaces_where_they_are_not(fitted: dict[str, Any]) -> None:
    assert not {"spaces", "request"} & set(fitted)


def test_keys_are_equal_exactly_when_field_and_value_are(fitted: dict[str, Any]) -> None:
    seen: dict[int, tuple[str, Any]] = {}
    for row, keys in zip(ROWS, fitted["keys"], strict=True):
        for field, key in zip(["user_id", "tab"], keys, strict=False):
            meaning = (field, tuple(row[field]))
            assert seen.setdefault(int(key), meaning) == meaning
    assert len(seen) == len({(f, tuple(r[f])) for r in ROWS for f in ("user_id", "tab")})


def test_a_value_spelt_like_another_field_has_its_own_key(graph_dir: str) -> None:
    rows = [{"user_id": [b"x"], "tab": [b"x"]}, {"user_id": [b""], "tab": []}]
    keys = apply(graph_dir, rows, labels=False)["keys"]
    assert len(np.unique(keys[:, :2])) == 4


def test_buckets_are_the_training_quantiles_and_missing_is_its_own(
    fitted: dict[str, Any],
) -> None:
    keys = fitted["keys"][:, 2]
    by_age: dict[float, int] = {}
    for age, key in zip(AGES, keys, strict=False):
        assert by_age.setdefault(age, key) == key
    in_order = [by_age[age] for age in sorted(by_age)]
    changes = sum(a != b for a, b in zip(in_order, in_order[1:], strict=False))
    assert len(set(in_order)) == 4 and changes == 3, "quantile buckets are intervals"
    assert keys[-1] not in set(in_order), "missing is a bucket of its own"


def test_numbers_are_log_z_scores_of_present_values_with_a_mask(fitted: dict[str, Any]) -> None:
    logs = np.log1p(AGES)
    expected = [(math.log1p(a) - logs.mean()) / logs.std() for a in AGES] + [0.0]
    np.testing.assert_allclose(fitted["numbers"][:, 0], expected, atol=1e-5)
    assert fitted["numbers"][:, 4].tolist() == [1.0] * len(AGES) + [0.0]


def test_a_column_of_small_values_that_is_mostly_zero(fitted: dict[str, Any]) -> None:
    values = np.array([0.0] * 9 + [9e-12, 10e-12, 11e-12])
    expected = [*((values - values.mean()) / values.std()), 0.0]
    np.testing.assert_allclose(fitted["numbers"][:, 3], expected, atol=1e-5)
    # The zeros, the three others and what is missing.
    zeros, *others = fitted["keys"][8:, 5]
    assert set(fitted["keys"][:9, 5]) == {zeros}
    assert len({zeros, *others}) == 5


def test_boundaries_are_constants_and_nothing_chooses_them_again(graph_dir: str) -> None:
    """What is in the graph is loaded and traced with every model."""
    content = Path(graph_dir, "transform_fn", "saved_model.pb").read_bytes()
    (meta_graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    graph = meta_graph.graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    ops = {node.op for node in nodes}
    # Values are looked up in the boundaries, which takes neither a sort nor a set.
    assert "UpperBound" in ops
    assert not ops & {"LowerBound", "TopKV2", "Unique"}


def test_a_column_that_is_always_missing_is_finite(fitted: dict[str, Any]) -> None:
    assert len(np.unique(fitted["keys"][:, 3])) == 1
    assert fitted["numbers"][:, [1, 5]].tolist() == [[0.0, 0.0]] * len(ROWS)


def test_columns_that_training_never_had_or_never_saw_vary_have_no_scale(
    graph_dir: str, fitted: dict[str, Any]
) -> None:
    rows = [{"user_id": [], "tab": [], "never": [3.0], CONSTANT: [1e6]}]
    out = apply(graph_dir, rows, labels=False)
    assert out["numbers"].tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]]
    assert fitted["numbers"][:, 2].tolist() == [0.0] * len(ROWS)


def test_serving_without_labels_gives_the_same(graph_dir: str, fitted: dict[str, Any]) -> None:
    rows = [{k: v for k, v in row.items() if k not in CONFIG["tasks"]} for row in ROWS]
    out = apply(graph_dir, rows, labels=False)
    for name in ("keys", "numbers", "scenario"):
        np.testing.assert_array_equal(out[name], fitted[name])


@pytest.mark.parametrize(
    "several", [{"user_id": [b"a", b"b"]}, {"age": [2.0, 9.0]}, {"tab": [b"1", b"1"]}]
)
def test_several_values_of_a_feature_are_an_error(graph_dir: str, several: dict[str, Any]) -> None:
    row = {"user_id": [b"a"], "tab": [b"1"], "age": [2.0]}
    (name,) = several
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"it has more of\] \[{name}\]"):
        apply(graph_dir, [row, {**row, **several}], labels=False)


def test_nan_is_missing_as_in_the_logs(graph_dir: str) -> None:
    columns = {"user_id": [b"a"], "tab": [b"1"], CONSTANT: [0.1]}
    rows = [{**columns, "age": [math.nan], "tiny": [1e-12]}, {**columns, "tiny": [1e-12]}]
    out = apply(graph_dir, rows, labels=False)
    for name in ("keys", "numbers"):
        np.testing.assert_array_equal(out[name][0], out[name][1])
        assert np.isfinite(out[name]).all()
    dense = DenseTransform(f"{graph_dir}/transform_fn")
    there = tf.constant([[True, False, True, True]])
    keys = dense.text_keys(["user_id", "tab"], tf.constant([["a", "1"]]), there[:, 2:])
    found = dense(keys, tf.constant([[math.nan, 0.0, 0.1, 1e-12]]), there, tf.constant(["1"]))
    np.testing.assert_array_equal(found["numbers"], out["numbers"][:1])
    np.testing.assert_array_equal(found["keys"], out["keys"][:1])


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_numbers_are_refused_by_name(graph_dir: str, value: float) -> None:
    rows = [ROWS[0], {**ROWS[0], "age": [value]}]
    with pytest.raises(tf.errors.InvalidArgumentError, match="found an infinite .*age"):
        apply(graph_dir, rows, labels=False)
    dense = DenseTransform(f"{graph_dir}/transform_fn")
    there = tf.ones([1, 4], tf.bool)
    keys = dense.text_keys(["user_id", "tab"], tf.constant([["a", "1"]]), there[:, 2:])
    numbers = tf.constant([[1.0, 0.0, 0.1, value]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="found an infinite .*tiny"):
        dense(keys, numbers, there, tf.constant(["1"]))
    # What is not there does not count.
    dense(keys, numbers, there & [[True, True, True, False]], tf.constant(["1"]))


def test_on_matrices_it_gives_what_it_gives_for_examples(graph_dir: str) -> None:
    dense = DenseTransform(f"{graph_dir}/transform_fn")
    assert dense.text_names == CONFIG["categorical"]
    assert dense.number_names == CONFIG["numeric"]
    assert dense.scenario_name == "tab"
    rows = [*ROWS, {**ROWS[0], "tab": []}, {**ROWS[0], "age": [-3.5], "user_id": [b"\xfe"]}]
    texts, numbers = (
        [[row[name] for name in names] for row in rows]
        for names in (CONFIG["categorical"], CONFIG["numeric"])
    )
    found = dense(
        dense.text_keys(
            dense.text_names,
            # What stands in place of what is missing does not count.
            tf.constant([[value[0] if value else b"?" for value in row] for row in texts]),
            tf.constant([[bool(value) for value in row] for row in texts]),
        ),
        tf.constant([[value[0] if value else math.nan for value in row] for row in numbers]),
        tf.constant([[bool(value) for value in row] for row in numbers]),
        tf.constant([row["tab"][0] if row["tab"] else b"" for row in rows]),
    )
    expected = apply(graph_dir, rows, labels=False)
    for name in ("keys", "numbers", "scenario"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_graph_of_another_making_has_no_matrices(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        value = tf.compat.v1.placeholder(tf.float32, [None])
        inputs, outputs = {"x": value}, {"y": value + 1}
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "other"), inputs, outputs)
    with pytest.raises(ValueError, match="found no constant transform/settings.*Fit it again"):
        DenseTransform(str(tmp_path / "other"))
