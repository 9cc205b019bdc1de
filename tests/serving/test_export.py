from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.export import export
from serving.stock_ops import foreign_ops, graph_ops, read_graph

from .conftest import fit_transform

FEATURES = ["user_id", "item_id", "duration_s", "tab"]
TASKS = ["like", "click"]


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def score(loaded: Any) -> Any:
    def run(examples: list[bytes]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures["serving_default"](examples=tf.constant(examples, tf.string))
        return {name: values.numpy() for name, values in outputs.items()}

    return run


def test_the_signature(loaded: Any) -> None:
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "examples": tf.TensorSpec([None], tf.string, "examples")
    }
    outputs = signature.structured_outputs
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in outputs.items()} == {
        "like": (tf.float32, [None]),
        "click": (tf.float32, [None]),
    }


def test_scores_are_those_of_the_training_model(
    score: Any, ranker: Any, parse_rows: Any, log_rows: Any, as_examples: Any
) -> None:
    expected = tf.sigmoid(ranker(parse_rows(log_rows))).numpy()
    scores = score(as_examples(log_rows))
    for column, task in enumerate(TASKS):
        np.testing.assert_allclose(scores[task], expected[:, column], rtol=0, atol=1e-6)
        assert np.std(scores[task]) > 0.05


def test_labels_and_other_columns_of_a_log_example_change_nothing(
    score: Any, log_rows: Any, as_examples: Any
) -> None:
    logged = [{**row, "like": 1, "click": 0, "_scenario": "feed"} for row in log_rows]
    for task, values in score(as_examples(logged)).items():
        np.testing.assert_array_equal(values, score(as_examples(log_rows))[task])


def test_the_tf1_session_loader_gives_the_same(
    exported: Path, score: Any, log_rows: Any, as_examples: Any
) -> None:
    examples = as_examples(log_rows)
    expected = score(examples)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported))
        signature = meta_graph.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        for task in TASKS:
            values = session.run(
                signature.outputs[task].name, {signature.inputs["examples"].name: examples}
            )
            np.testing.assert_allclose(values, expected[task], rtol=0, atol=1e-6)


def test_no_rows(score: Any) -> None:
    for values in score([]).values():
        assert values.shape == (0,)


def test_an_example_without_features_is_one_of_missing_values(
    score: Any, ranker: Any, parse_rows: Any
) -> None:
    expected = tf.sigmoid(ranker(parse_rows([{}]))).numpy()[0]
    scores = score([b""])
    assert [scores[task][0] for task in TASKS] == pytest.approx(expected, abs=1e-6)


def test_all_unknown_ids_of_a_column_score_alike(score: Any, as_examples: Any) -> None:
    row = {"user_id": "u1", "item_id": "i1", "duration_s": 20.0, "tab": "feed"}
    scores = score(
        as_examples(
            [
                {**row, "item_id": "never seen"},
                {**row, "item_id": b"\xff\xfe not UTF-8"},
                {**row, "user_id": "never seen"},
            ]
        )
    )
    assert scores["click"][0] == scores["click"][1] != scores["click"][2]


def test_an_unknown_scenario_is_the_other_one(score: Any, as_examples: Any) -> None:
    row = {"user_id": "u1", "item_id": "i1", "duration_s": 20.0}
    scores = score(as_examples([{**row, "tab": t} for t in ("new", "newer", "feed")]))
    assert scores["like"][0] == scores["like"][1] != scores["like"][2]


def test_what_is_no_example_is_refused(score: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example input"):
        score([b"no example"])


def test_a_column_of_the_wrong_type_is_refused_by_name(score: Any, as_examples: Any) -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="Key: user_id.* Expected type: string"
    ):
        score(as_examples([{"user_id": 1.5}]))


def test_the_model_names_its_columns(loaded: Any) -> None:
    columns = loaded.signatures["request_columns"]()
    assert columns["text"].numpy().tolist() == [b"user_id", b"item_id", b"tab"]
    assert columns["numeric"].numpy().tolist() == [b"duration_s"]


class Looked(tf.Module):
    """Statistics of a toy kind: `duration_s` is 20 where an example does not carry it."""

    by = {"duration_s": ("item_id",)}

    def __init__(self) -> None:
        super().__init__()
        self.value = tf.Variable(20.0)

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        carried = tf.sparse.to_dense(features["duration_s"], -1.0)
        # Rows of a batch in which none carries it have no column at all.
        carried = tf.pad(carried, [[0, 0], [0, 1]], constant_values=-1.0)[:, :1]
        filled = tf.where(carried < 0, self.value, carried)
        return {**features, "duration_s": tf.sparse.from_dense(filled)}


def test_statistics_are_looked_up_unless_an_example_carries_them(
    ranker: Any,
    transform_output: Any,
    parse_rows: Any,
    log_rows: Any,
    as_examples: Any,
    tmp_path: Path,
) -> None:
    columns = ["user_id", "item_id", "tab"]
    path = str(tmp_path / "model")
    export(ranker, transform_output, columns, TASKS, path, statistics=Looked())
    loaded = tf.saved_model.load(path)
    filled = [{**row, "duration_s": row["duration_s"] or 20.0} for row in log_rows]
    bare = [{name: row[name] for name in columns} for row in log_rows]
    for rows, meant in (
        (log_rows, filled),
        (bare, [{**row, "duration_s": 20.0} for row in bare]),
    ):
        scores = loaded.signatures["serving_default"](examples=tf.constant(as_examples(rows)))
        expected = tf.sigmoid(ranker(parse_rows(meant))).numpy()
        for column, task in enumerate(TASKS):
            np.testing.assert_allclose(scores[task], expected[:, column], rtol=0, atol=1e-6)
    named = loaded.signatures["request_columns"]()
    assert {kind: names.numpy().tolist() for kind, names in named.items()} == {
        "text": [b"user_id", b"item_id", b"tab"],
        "numeric": [],
        "histories": [],
        "statistics": [b"duration_s"],
        "scenarios": [],
    }


def test_a_statistic_that_the_transform_graph_does_not_take(
    ranker: Any, transform_output: Any, tmp_path: Path
) -> None:
    unknown = Looked()
    unknown.by = {"age_s": ("item_id",)}
    with pytest.raises(ValueError, match="found age_s; expected raw features of the .* duration_s"):
        export(ranker, transform_output, FEATURES, TASKS, str(tmp_path / "m"), statistics=unknown)


def test_stock_ops_only(exported: Path) -> None:
    graph = read_graph(exported)
    assert len(graph.library.function) > 1
    assert foreign_ops(graph) == set()
    assert {"ParseExampleV2", "LookupTableFindV2", "MatMul"} <= graph_ops(graph)
    graph.library.function[0].node_def.add(op="TfraCuckooHashTableFind")
    graph.node.add(op="Addons>Parse")
    assert foreign_ops(graph) == {"TfraCuckooHashTableFind", "Addons>Parse"}


def test_tables_are_variables_and_not_constants(exported: Path, ranker: Any) -> None:
    graph = read_graph(exported)
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    numeric = [c for c in constants if c.dtype in (types_pb2.DT_INT64, types_pb2.DT_FLOAT)]
    assert max(constant.ByteSize() for constant in numeric) < 8 * int(
        tf.size(ranker.embedding.tables[0].live_slots())
    )


def test_an_unknown_feature(ranker: Any, transform_output: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found tabb; expected raw features of the .* duration_s"):
        export(ranker, transform_output, [*FEATURES[:3], "tabb"], TASKS, str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_a_feature_of_another_type(ranker: Any, transform_output: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feature click: found int64; expected string or float32"):
        export(ranker, transform_output, [*FEATURES, "click"], TASKS, str(tmp_path / "m"))


def test_too_few_features(ranker: Any, transform_output: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found user_id, tab; expected all that keys, numbers are"):
        export(ranker, transform_output, ["user_id", "tab"], TASKS, str(tmp_path / "m"))


def test_tasks_that_are_not_the_models(ranker: Any, transform_output: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found like, click; expected .* tasks click, share"):
        export(ranker, transform_output, FEATURES, ["click", "share"], str(tmp_path / "m"))


class Outputs(tf.Module):
    """A model of outputs of several shapes, one of them a raw number that it was given."""

    def for_serving(self, item_fields: Collection[str] = (), embedding_rows: str = "") -> tf.Module:
        return self

    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ones = tf.ones_like(inputs["scenario"], tf.float32)
        return {"classes": ones[:, None] * [[0.2, 0.8]], "length": inputs["raw:duration_s"]}


def test_outputs_are_the_models_and_raw_numbers_reach_it(
    transform_output: Any, log_rows: Any, as_examples: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "m")
    arguments = (transform_output, FEATURES, ["classes"], path)
    export(Outputs(), *arguments, raw_numbers=["duration_s"])
    signature = tf.saved_model.load(path).signatures["serving_default"]
    for rows in (log_rows, [row for row in log_rows if row["duration_s"] is None]):
        outputs = signature(examples=tf.constant(as_examples(rows)))
        lengths = [np.nan if row["duration_s"] is None else row["duration_s"] for row in rows]
        np.testing.assert_allclose(outputs["length"], lengths, rtol=1e-6)
        np.testing.assert_allclose(outputs["classes"], [[0.2, 0.8]] * len(rows))


# Each two are one as a name of an op or of an argument; `keys` and `numbers` are inputs of a model.
ODD_TEXTS = ["a/b", "a:b", "a_b", "1", "arg_1", "keys", "text_keys", "a.b", "a,b", "ä", "A", "a"]
ODD_NUMBERS = ["numbers", "a b", "/b", "b/b", "inputs", "user_numbers"]


class OddInputs(tf.Module):
    """A model that answers with the sum of its inputs, and with its raw number."""

    def for_serving(self, item_fields: Collection[str] = (), embedding_rows: str = "") -> tf.Module:
        return self

    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        parts = [tf.cast(inputs["keys"] % 1009, tf.float32), inputs["numbers"]]
        return {
            "sums": tf.concat(parts, axis=1),
            "length": inputs["raw:numbers"],
        }


def test_names_that_are_one_to_tensorflow(as_examples: Any, tmp_path: Path) -> None:
    rows = [
        {name: f"{name} {n % (i + 2)}" for i, name in enumerate(ODD_TEXTS)}
        | {name: float(n * (i + 1) % 7) for i, name in enumerate(ODD_NUMBERS)}
        for n in range(60)
    ]
    labelled = [{**row, "tab": "feed", "like": 0, "click": 1, "_day": 1} for row in rows]
    graph = fit_transform(tmp_path, as_examples(labelled), ODD_TEXTS, ODD_NUMBERS)
    path = str(tmp_path / "m")
    features = [*ODD_TEXTS, *ODD_NUMBERS, "tab"]
    export(OddInputs(), graph, features, ["sums"], path, raw_numbers=["numbers"])
    loaded = tf.saved_model.load(path)
    served = loaded.signatures["serving_default"](examples=tf.constant(as_examples(rows)))

    numbers = np.array([[row[name] for name in ODD_NUMBERS] for row in rows], np.float32)
    np.testing.assert_array_equal(served["length"], numbers[:, 0])
    keys = tf.concat(
        [
            tf.bitcast(tf.fingerprint([[name, row[name]] for name in ODD_TEXTS]), tf.int64)[None]
            for row in rows
        ],
        axis=0,
    )
    at = len(ODD_TEXTS)
    np.testing.assert_array_equal(served["sums"][:, :at], keys % 1009)
    scaled = np.log1p(numbers)
    z_scores = (scaled - scaled.mean(0)) / scaled.std(0)
    at += len(ODD_NUMBERS)
    np.testing.assert_allclose(
        served["sums"][:, at : at + len(ODD_NUMBERS)], z_scores, rtol=0, atol=2e-5
    )


@pytest.mark.parametrize(("kind", "size", "largest"), [("float16", 2, 1e-3), ("int8", 1, 0.03)])
def test_rows_in_fewer_bytes(
    kind: Any,
    size: int,
    largest: float,
    exported: Path,
    score: Any,
    ranker: Any,
    transform_output: Any,
    log_rows: Any,
    as_examples: Any,
    tmp_path: Path,
) -> None:
    path = tmp_path / "m"
    export(ranker, transform_output, FEATURES, TASKS, str(path), embedding_rows=kind)
    table = ranker.for_serving(embedding_rows=kind).embedding.tables[0]
    rows = table.num_keys + table.num_fields
    assert table.rows.num_bytes == rows * (size * table.dim + (4 if kind == "int8" else 0))
    saved = [
        value
        for name, value in _variables(path).items()
        if value.ndim == 2 and len(value) == rows and value.dtype.itemsize == size
    ]
    assert len(saved) == 1, "one matrix of rows, in the narrow type"

    examples = as_examples(log_rows)
    loaded = tf.saved_model.load(str(path)).signatures["serving_default"]
    narrow = loaded(examples=tf.constant(examples))
    for task, values in score(examples).items():
        differences = np.abs(narrow[task] - values)
        assert 0 < differences.max() < largest


def _variables(path: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    return {
        name: np.asarray(reader.get_tensor(name))
        for name in reader.get_variable_to_dtype_map()
        if reader.get_variable_to_dtype_map()[name] != tf.string
    }
