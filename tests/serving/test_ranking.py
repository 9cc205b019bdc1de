"""Ranking requests, whole and in halves, against examples of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.export import export
from serving.request_layout import MISSING, RequestLayout

FEATURES = ["user_id", "item_id", "duration_s", "tab"]
TASKS = ["like", "click"]


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


def _text(values: Sequence[Any]) -> tf.Tensor:
    coded = [MISSING if v is None else v if isinstance(v, bytes) else v.encode() for v in values]
    return tf.constant(coded, tf.string)


def _numbers(values: Sequence[float | None]) -> tf.Tensor:
    return tf.constant([np.nan if v is None else v for v in values], tf.float32)


def _matrices(user: dict[str, Any], items: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
    return {
        "user_text": _text([user.get(name) for name in ("user_id", "tab")])[tf.newaxis],
        "item_text": _text([item.get("item_id") for item in items])[:, tf.newaxis],
        "item_numbers": _numbers([item.get("duration_s") for item in items])[:, tf.newaxis],
    }


def _by_examples(loaded: Any, rows: list[dict[str, Any]], as_examples: Any) -> dict[str, Any]:
    examples = tf.constant(as_examples(rows), tf.string)
    return dict(loaded.signatures["serving_default"](examples=examples))


@pytest.mark.parametrize("signature", ["rank", "halves"])
@pytest.mark.parametrize(
    "user",
    [
        {"user_id": "u1", "tab": "feed"},
        {"user_id": None, "tab": "a tab of tomorrow"},
        {"user_id": b"\xff\xfe no UTF-8", "tab": None},
    ],
)
def test_it_scores_as_examples_do(
    loaded: Any, user: dict[str, Any], signature: str, log_rows: Any, as_examples: Any
) -> None:
    items = [{name: row[name] for name in ("item_id", "duration_s")} for row in log_rows[:40]]
    items += [{}, {"item_id": "never seen"}, {"item_id": b"\xfe"}]
    given = _matrices(user, items)
    if signature == "rank":
        scores = loaded.signatures["rank"](**given)
    else:
        embed, score = (loaded.signatures[name] for name in ("user_embedding", "score_items"))
        half = embed(user_text=given.pop("user_text"))
        assert half["user_embedding"].shape[0] == 1
        scores = score(**half, **given)
    expected = _by_examples(loaded, [{**user, **item} for item in items], as_examples)
    assert set(scores) == set(TASKS)
    for task in TASKS:
        np.testing.assert_allclose(scores[task], expected[task], rtol=0, atol=1e-6)
        assert np.std(scores[task]) > 0.01


def test_no_candidates(loaded: Any) -> None:
    scores = loaded.signatures["rank"](**_matrices({"user_id": "u1", "tab": "feed"}, []))
    assert {name: values.shape.as_list() for name, values in scores.items()} == {
        "like": [0],
        "click": [0],
    }


def test_ten_thousand_candidates(loaded: Any, as_examples: Any) -> None:
    items = [{"item_id": f"i{n % 97}", "duration_s": float(n % 211)} for n in range(10_000)]
    user = {"user_id": "u3", "tab": "search"}
    scores = loaded.signatures["rank"](**_matrices(user, items))
    expected = _by_examples(loaded, [{**user, **item} for item in items], as_examples)
    np.testing.assert_allclose(scores["click"], expected["click"], rtol=0, atol=1e-6)


def test_nan_is_missing_in_every_signature(loaded: Any, as_examples: Any) -> None:
    user = {"user_id": "u1", "tab": "feed"}
    items = [{"item_id": "i1", "duration_s": value} for value in (np.nan, None, 7.0)]
    rows = as_examples([{**user, **item} for item in items])
    examples = tf.constant(rows, tf.string)
    for name in ("serving_default", "classify", "regress", "rank", "halves"):
        if name == "rank":
            outputs = loaded.signatures[name](**_matrices(user, items))
        elif name == "halves":
            given = _matrices(user, items)
            half = loaded.signatures["user_embedding"](user_text=given.pop("user_text"))
            outputs = loaded.signatures["score_items"](**half, **given)
        else:
            given = {"examples" if name == "serving_default" else "inputs": examples}
            outputs = loaded.signatures[name](**given)
        for output, values in outputs.items():
            if values.dtype == tf.float32:
                assert np.isfinite(values).all(), (name, output)
                np.testing.assert_allclose(values[0], values[1], rtol=1e-6)
                assert not np.allclose(values[0], values[2], rtol=1e-6), (name, output)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_numbers_are_refused_in_every_signature(
    loaded: Any, as_examples: Any, value: float
) -> None:
    user = {"user_id": "u1", "tab": "feed"}
    items = [{"item_id": "i1", "duration_s": 7.0}, {"item_id": "i2", "duration_s": value}]
    examples = tf.constant(as_examples([{**user, **item} for item in items]), tf.string)
    given = _matrices(user, items)
    half = loaded.signatures["user_embedding"](user_text=given["user_text"])
    of_items = {name: matrix for name, matrix in given.items() if name != "user_text"}
    for name, inputs in {
        "serving_default": {"examples": examples},
        "classify": {"inputs": examples},
        "regress": {"inputs": examples},
        "rank": given,
        "score_items": {**half, **of_items},
    }.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match="infinite .*duration_s"):
            loaded.signatures[name](**inputs)


def test_matrices_of_unequal_length_are_refused(loaded: Any) -> None:
    given = _matrices({"user_id": "u1"}, [{"item_id": "i1"}, {"item_id": "i2"}])
    given["item_numbers"] = given["item_numbers"][:1]
    with pytest.raises(tf.errors.InvalidArgumentError, match="item_text and item_numbers differ"):
        loaded.signatures["rank"](**given)


def test_the_model_names_the_columns_of_each_matrix(loaded: Any) -> None:
    columns = loaded.signatures["request_columns"]()
    found = {name: [v.decode() for v in values.numpy()] for name, values in columns.items()}
    assert found["user_text"] == ["user_id", "tab"]
    assert found["item_text"] == ["item_id"]
    assert found["item_numbers"] == ["duration_s"]
    assert found["user_numbers"] == found["history_text"] == found["context_text"] == []
    assert found["scenarios"] == ["feed", "search", "other"]


def test_classify_and_regress(loaded: Any, log_rows: Any, as_examples: Any) -> None:
    expected = _by_examples(loaded, log_rows, as_examples)
    examples = tf.constant(as_examples(log_rows))
    classes = loaded.signatures["classify"](inputs=examples)
    assert classes["classes"].numpy()[7].tolist() == [b"like", b"click"]
    np.testing.assert_array_equal(classes["scores"][:, 1], expected["click"])
    # Without a fused score it is the first task.
    regressed = loaded.signatures["regress"](inputs=examples)["outputs"]
    np.testing.assert_array_equal(regressed, expected["like"])


def test_what_signatures_are_for(exported: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported))
        methods = {name: s.method_name for name, s in graph.signature_def.items()}
    assert methods["classify"] == "tensorflow/serving/classify"
    assert methods["regress"] == "tensorflow/serving/regress"
    assert methods["rank"] == "tensorflow/serving/predict"


class ByItemAndTab(tf.Module):
    """Statistics of a toy kind: `duration_s` is the length of the item's and the tab's names."""

    by = {"duration_s": ("item_id", "tab")}
    columns = ("item_id", "tab")

    def look_up(self, texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        lengths = tf.cast(tf.strings.length(tf.where(has_text, texts, "")), tf.float32)
        return lengths[:, :1] + 10 * lengths[:, 1:]

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        columns = []
        for name in self.columns:
            dense = tf.sparse.to_dense(features[name], "")
            columns.append(tf.pad(dense, [[0, 0], [0, 1]], constant_values="")[:, :1])
        texts = tf.concat(columns, axis=1)
        found = self.look_up(texts, tf.ones_like(texts, tf.bool))
        return {**features, "duration_s": tf.sparse.from_dense(found)}


def test_statistics_of_candidate_and_context(
    ranker: Any, transform_output: Any, dense_transform: Any, as_examples: Any, tmp_path: Path
) -> None:
    columns = ["user_id", "item_id", "tab"]
    path = str(tmp_path / "model")
    export(
        ranker,
        transform_output,
        columns,
        TASKS,
        path,
        statistics=ByItemAndTab(),
        items=["item_id"],
        dense_transform=dense_transform,
    )
    loaded = tf.saved_model.load(path)
    user = {"user_id": "u1", "tab": "feed"}
    items = [{"item_id": f"i{'0' * n}7"} for n in range(20)]
    given = {"user_text": _text(["u1", "feed"])[tf.newaxis]}
    item_text = _text([item["item_id"] for item in items])[:, tf.newaxis]
    expected = _by_examples(loaded, [{**user, **item} for item in items], as_examples)
    ranked = loaded.signatures["rank"](**given, item_text=item_text)
    half = loaded.signatures["user_embedding"](**given)
    scored = loaded.signatures["score_items"](
        **half, item_text=item_text, context_text=_text(["feed"])[tf.newaxis]
    )
    for task in TASKS:
        np.testing.assert_allclose(ranked[task], expected[task], rtol=0, atol=1e-6)
        np.testing.assert_allclose(scored[task], expected[task], rtol=0, atol=1e-6)
        assert np.std(expected[task]) > 1e-4


def test_items_that_are_no_columns() -> None:
    spec = {"user_id": tf.io.VarLenFeature(tf.string)}
    with pytest.raises(ValueError, match="items: found item; expected columns among user_id"):
        RequestLayout(spec, items=["item"])
