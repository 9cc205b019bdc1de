"""Warm-up requests: what they are made of, and that they ask what examples ask."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.cpp_loader import answer_in_fresh_process, read_records, read_request
from serving.example_requests import one_users_examples, ranking_matrices, request_examples
from serving.request_layout import MISSING
from serving.warmup import WARMUP_REQUESTS, warmup_requests, write_requests

COLUMNS = {
    "text": ["user_id", "item_id", "tab"],
    "numeric": ["duration_s"],
    "histories": [],
    "statistics": [],
    "scenarios": ["feed", "search", "other"],
    "user_text": ["user_id", "tab"],
    "user_numbers": [],
    "item_text": ["item_id"],
    "item_numbers": ["duration_s"],
    "context_text": [],
    "context_numbers": [],
    "history_text": [],
    "history_numbers": [],
}


@pytest.fixture(scope="module")
def raw(log_rows: Any, as_examples: Any) -> list[bytes]:
    """Rows as LogExampleGen writes them: labels and all."""
    return as_examples([{**row, "click": 1, "_day": 3, "clicks_per_item": 0.5} for row in log_rows])


def test_a_request_carries_no_label_and_no_statistic(raw: list[bytes]) -> None:
    for example in [*request_examples(raw, COLUMNS), *one_users_examples(raw, COLUMNS)]:
        names = set(tf.train.Example.FromString(example).features.feature)
        assert names <= {"user_id", "item_id", "tab", "duration_s"} and "item_id" in names
    assert request_examples(raw, COLUMNS) == request_examples(raw, COLUMNS), "the same bytes"


def test_requests_by_kind_and_size(raw: list[bytes], log_rows: Any) -> None:
    requests = warmup_requests(raw[:5], COLUMNS, rows=[1, 7], candidates=[6])
    assert [name for name, _ in requests] == ["serving_default", "serving_default", "rank"]
    assert [inputs["examples"].shape for _, inputs in requests[:2]] == [(1,), (7,)]
    matrices = requests[2][1]
    user = [log_rows[0][name].encode() for name in ("user_id", "tab")]
    assert matrices["user_text"].tolist() == [user]
    # Five rows, and the first one again.
    expected = [row["item_id"] for row in [*log_rows[:5], log_rows[0]]]
    assert matrices["item_text"][:, 0].tolist() == expected
    lengths = [row["duration_s"] or np.nan for row in [*log_rows[:5], log_rows[0]]]
    np.testing.assert_allclose(matrices["item_numbers"][:, 0], lengths, rtol=1e-6)
    assert matrices["item_numbers"].dtype == np.float32


def test_without_ranking_requests_there_are_none(raw: list[bytes]) -> None:
    columns = {kind: COLUMNS[kind] for kind in ("text", "numeric", "histories")}
    assert [name for name, _ in warmup_requests(raw, columns, [2], [3])] == ["serving_default"]
    with pytest.raises(ValueError, match="found no example"):
        warmup_requests([], COLUMNS, [1], [])


def test_the_user_with_most_behaviours_and_what_is_missing() -> None:
    columns = {**COLUMNS, "histories": ["seen", "age"]}
    columns |= {"text": [*COLUMNS["text"], "seen"], "numeric": ["duration_s", "age"]}
    columns |= {"history_text": ["seen"], "history_numbers": ["age"]}

    def example(user: str, seen: list[bytes]) -> bytes:
        message = tf.train.Example()
        features = message.features.feature
        features["user_id"].bytes_list.value.append(user.encode())
        if seen:
            features["seen"].bytes_list.value.extend(seen)
            features["age"].float_list.value.extend(range(len(seen)))
        return message.SerializeToString()

    raw = [example("a", []), example("b", [b"x", b"y"]), example("c", [b"z"])]
    examples = one_users_examples(raw, columns)
    assert len(examples) == 3
    matrices = ranking_matrices(examples, columns, ("user", "history", "item"))
    assert matrices["user_text"].tolist() == [[b"b", MISSING]]
    assert matrices["history_text"].tolist() == [[b"x"], [b"y"]]
    assert matrices["history_numbers"].tolist() == [[0.0], [1.0]]
    assert matrices["item_text"].tolist() == [[MISSING]] * 3
    assert np.isnan(matrices["item_numbers"]).all()
    nothing = ranking_matrices(one_users_examples(raw[:1], columns), columns, ("history",))
    assert nothing["history_text"].shape == nothing["history_numbers"].shape == (0, 1)
    assert nothing["history_text"].dtype == object


def test_the_file_is_read_as_by_protobuf(raw: list[bytes], tmp_path: Path) -> None:
    path = str(tmp_path / "extra" / "requests")
    requests = [
        *warmup_requests(raw, COLUMNS, [1, 3], [2]),
        ("score_items", {"one": np.float32([[1.5]]), "ints": np.array([7, -1, 2**60])}),
        ("empty", {"text": np.empty((0, 2), object), "one": np.array([-3]), "scalar": np.int64(9)}),
    ]
    write_requests(path, requests)
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    assert read_records(path) == records
    for record, (signature, inputs) in zip(records, requests, strict=True):
        request = PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.signature_name == signature
        name, found = read_request(record)
        assert name == signature and set(found) == set(inputs) == set(request.inputs)
        for key, value in inputs.items():
            official = tf.make_ndarray(request.inputs[key])
            assert found[key].shape == official.shape == value.shape
            np.testing.assert_array_equal(found[key], value)
            np.testing.assert_array_equal(official, value)


def test_a_model_answers_them_as_it_answers_examples(
    exported: Path, raw: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    loaded = tf.saved_model.load(str(folder))
    named = loaded.signatures["request_columns"]()
    columns = {kind: [n.decode() for n in names.numpy()] for kind, names in named.items()}
    assert columns == COLUMNS
    write_requests(str(folder / WARMUP_REQUESTS), warmup_requests(raw, columns, [1, 4], [30]))
    answers = answer_in_fresh_process(folder, folder / WARMUP_REQUESTS, repeats=3)
    assert answers.signatures == ["serving_default", "serving_default", "rank"]
    assert [len(outputs["click"]) for outputs in answers.outputs] == [1, 4, 30]
    examples = tf.constant(one_users_examples(raw[:30], columns))
    expected = loaded.signatures["serving_default"](examples=examples)
    for task in ("like", "click"):
        np.testing.assert_allclose(answers.outputs[2][task], expected[task], rtol=0, atol=1e-6)
    assert [len(times) for times in answers.milliseconds] == [3, 3, 3]
    assert min(min(times) for times in answers.milliseconds) > 0
    assert answers.memory_mb > answers.memory_before_mb > 10 and answers.load_seconds > 0
