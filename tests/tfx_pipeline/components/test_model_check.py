"""Candidates that are well and candidates that are not, each with the reason that it prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.ranking_signatures import RankingSignatures
from serving.request_layout import RequestLayout
from serving.signatures import ExampleSignatures, first_number
from serving.warmup import WARMUP_REQUESTS, warmup_requests, write_requests
from tfx_pipeline.config import Config
from tfx_pipeline.config.model_check import ModelCheckConfig
from tfx_pipeline.model_check.check import check_candidate, check_model
from tfx_pipeline.model_check.outputs import check_outputs, difference
from tfx_pipeline.model_check.problem import failures

KINDS = {"click": "binary", "length": "regression"}
Tensors = Mapping[str, tf.Tensor]


class Toy(tf.Module):
    """click = sigmoid((user's age + item's age + bias) / 10), length = their sum."""

    def __init__(self) -> None:
        super().__init__()
        # Long enough to be cut off.
        self.bias = tf.Variable(tf.zeros([4096]))

    def __call__(self, features: Tensors) -> dict[str, tf.Tensor]:
        return self.outputs(features["numbers"][:, 0], features["numbers"][:, 1])

    def user_embedding(self, features: Tensors) -> dict[str, tf.Tensor]:
        return {"user_embedding": features["numbers"][:, :1]}

    def score_items(self, user: Tensors, features: Tensors) -> dict[str, tf.Tensor]:
        return self.outputs(user["user_embedding"][0], features["numbers"][:, 1])

    def outputs(self, user: tf.Tensor, item: tf.Tensor) -> dict[str, tf.Tensor]:
        total = user + item + self.bias[0]
        return {"click": self.click(total), "length": total}

    def click(self, total: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(total / 10)


class NotANumber(Toy):
    def click(self, total: tf.Tensor) -> tf.Tensor:
        return tf.where(total > 40, float("nan"), tf.sigmoid(total / 10))


class OutOfRange(Toy):
    def click(self, total: tf.Tensor) -> tf.Tensor:
        return 2 * tf.sigmoid(total / 10)


class RanksOtherwise(Toy):
    def score_items(self, user: Tensors, features: Tensors) -> dict[str, tf.Tensor]:
        outputs = super().score_items(user, features)
        return {**outputs, "click": outputs["click"] * 0.999}


def _transform(raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    ages = [first_number(raw[name]) for name in ("user_age", "item_age")]
    numbers = tf.stack([tf.where(tf.math.is_nan(age), 0.0, age) for age in ages], axis=1)
    rows = tf.zeros_like(numbers[:, 0], tf.int64)
    return {"keys": rows[:, None], "numbers": numbers, "scenario": rows}


class DenseToy:
    """The same on matrices."""

    text_names: Sequence[str] = []
    number_names = ("user_age", "item_age")
    scenario_name = "tab"

    def text_keys(self, names: Sequence[str], texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(texts, tf.int64)

    def __call__(
        self, text_keys: tf.Tensor, numbers: tf.Tensor, has_number: tf.Tensor, scenario: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        rows = tf.zeros_like(numbers[:, 0], tf.int64)
        ages = tf.where(has_number, numbers, 0.0)
        return {"keys": rows[:, None], "numbers": ages, "scenario": rows}


@pytest.fixture(scope="module")
def examples() -> list[bytes]:
    def example(row: int) -> bytes:
        message = tf.train.Example()
        for name, value in (("user_age", row % 7), ("item_age", row)):
            message.features.feature[name].float_list.value.append(value)
        message.features.feature["click"].int64_list.value.append(row % 2)
        return message.SerializeToString()

    return [example(row) for row in range(60)]


def _write(toy: Toy, folder: Path, examples: list[bytes]) -> Path:
    spec = {name: tf.io.VarLenFeature(tf.float32) for name in ("user_age", "item_age")}
    spec["tab"] = tf.io.VarLenFeature(tf.string)
    layout = RequestLayout(spec, items=["item_age"])
    root = tf.Module()
    root.examples = ExampleSignatures(_transform, layout, toy, list(KINDS), ["click"])
    root.ranking = RankingSignatures(_transform, DenseToy(), layout, toy)
    signatures = {**root.examples.signatures(), **root.ranking.signatures()}
    tf.saved_model.save(root, str(folder), signatures=signatures)
    named = root.examples.request_columns()
    columns = {kind: [n.decode() for n in names.numpy()] for kind, names in named.items()}
    write_requests(str(folder / WARMUP_REQUESTS), warmup_requests(examples, columns, [1, 8], [5]))
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, examples: list[bytes]) -> Path:
    return _write(Toy(), tmp_path_factory.mktemp("good") / "model", examples)


@pytest.fixture
def check(examples: list[bytes]) -> Callable[..., dict[str, Any]]:
    def run(folder: Path, rows: list[bytes] = examples, **limits: Any) -> dict[str, Any]:
        settings = ModelCheckConfig.model_validate({"repeats": 5, **limits})
        result = check_model(str(folder), rows, KINDS, settings, 1e-6)
        json.dumps(result, allow_nan=False)
        assert result["passed"] == (not result["problems"])
        return result

    return run


def _whys(result: dict[str, Any]) -> list[str]:
    return [failure["why"] for failure in failures(result)]


def test_a_model_that_is_well(good: Path, check: Any) -> None:
    result = check(good)
    assert result["passed"] and failures(result) == []
    assert result["rows"] == 60 and result["ops"] > 20
    assert result["signatures"] == [
        *("classify", "rank", "regress", "request_columns", "score_items", "serving_default"),
        "user_embedding",
    ]
    assert set(result["latency_ms"]) == {"serving_default[1]", "serving_default[8]", "rank[5]"}
    for latency in result["latency_ms"].values():
        assert 0 < latency["p50"] <= latency["p99"]
    assert result["memory_mb"] > result["memory_before_mb"] > 10 and result["load_seconds"] > 0
    assert set(result["differences"]) == {
        "serving_default, against TensorFlow in Python",
        "user_embedding, against TensorFlow in Python",
        "classify, against serving_default",
        "regress, against serving_default",
        "rank, against serving_default of one user",
        "score_items, against serving_default of one user",
    }
    assert max(result["differences"].values()) <= 1e-6


@pytest.mark.parametrize(
    ("toy", "why"),
    [
        (NotANumber(), "click of serving_default: found nan in 22 of 60 values; expected finite"),
        (OutOfRange(), "click of serving_default: found 1.09967 in 7 of 8 values; expected p"),
        (
            RanksOtherwise(),
            "rank, against serving_default of one user: found a difference of 0.001; expected at "
            "most 1e-06",
        ),
    ],
)
def test_a_model_that_answers_wrongly(
    toy: Toy, why: str, examples: list[bytes], check: Any, tmp_path: Path
) -> None:
    result = check(_write(toy, tmp_path / "model", examples))
    assert not result["passed"]
    assert any(found.startswith(why) for found in _whys(result)), _whys(result)
    assert len({failure["metric"] for failure in failures(result)}) == len(result["problems"])


def test_a_model_with_an_op_of_somebody_elses(good: Path, check: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(good, tmp_path / "model")
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].graph_def.node.add(name="find", op="TfraCuckooHashTableFind")
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    result = check(folder)
    assert _whys(result) == [
        "ops: found TfraCuckooHashTableFind; expected ops of TensorFlow, which a stock server knows"
    ]


def test_a_model_that_is_cut_off(good: Path, check: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(good, tmp_path / "model")
    (data,) = (folder / "variables").glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:100])
    (why,) = _whys(check(folder))
    assert why.startswith("TensorFlow's C++ loader: found ")
    assert why.endswith("; expected a model that loads and answers")
    (folder / "saved_model.pb").write_bytes((good / "saved_model.pb").read_bytes()[:-5])
    (why,) = _whys(check(folder))
    assert why.startswith("saved_model.pb: found DecodeError")
    (folder / "saved_model.pb").unlink()
    (why,) = _whys(check(folder))
    assert why.startswith("saved_model.pb: found FileNotFoundError")


def test_warm_up_requests_that_are_not_there_or_not_answered(
    good: Path, check: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(good, tmp_path / "model")
    requests = folder / WARMUP_REQUESTS
    write_requests(str(requests), [("rank", {"user": np.float32([[1]])})])
    (why,) = _whys(check(folder))
    assert why.startswith(
        "TensorFlow's C++ loader: found request 0, rank: found the inputs user; expected item_"
    )
    requests.write_bytes(b"")
    assert _whys(check(folder)) == [
        "warm-up requests: found none in the file; expected one at least"
    ]
    requests.unlink()
    assert _whys(check(folder)) == [
        "warm-up requests: found no file assets.extra/tf_serving_warmup_requests; expected one, "
        "with the model"
    ]


def test_a_model_beyond_the_limits(good: Path, check: Any) -> None:
    result = check(good, max_latency_ms=1e-4, max_memory_mb=1)
    latency, *others, memory = _whys(result)
    assert latency.startswith("latency of serving_default[1]: found a p99 of ")
    assert latency.endswith(" ms; expected at most 0.0001 ms (model_check.max_latency_ms)")
    assert len(others) == 2
    assert memory.startswith("memory: found ")
    assert memory.endswith(" MiB; expected at most 1 MiB (model_check.max_memory_mb)")
    assert check(good, max_latency_ms=60_000, max_memory_mb=100_000)["passed"]


def test_a_model_that_takes_too_long(good: Path, check: Any) -> None:
    assert _whys(check(good, timeout_s=0.01)) == [
        "time to load and answer: found more than 0.01 s; expected less (model_check.timeout_s)"
    ]


def test_no_rows(good: Path, check: Any) -> None:
    (why,) = _whys(check(good, rows=[]))
    assert why.startswith("evaluation rows: found none")


def test_failures_are_of_all_cells() -> None:
    (failure,) = failures({"problems": [{"what": "ops", "found": "X", "expected": "none"}]})
    assert failure == {
        "task": "*",
        "scenario": "*",
        "metric": "ops",
        "value": None,
        "threshold": None,
        "kind": "model_check",
        "why": "ops: found X; expected none",
    }


def test_which_outputs_are_probabilities() -> None:
    kinds = {"click": "binary", "stars": "multiclass", "length": "regression"}
    fine = {
        "click": np.float32([0, 1]),
        "stars": np.float32([[0.25, 0.75], [1, 0]]),
        "length": np.float32([-5, 300]),
        "score": np.float32([7, -7]),
        "buy_given_click": np.float32([0.5, 1]),
    }
    assert check_outputs("rank", fine, kinds) == []
    assert check_outputs("regress", {"outputs": np.float32([9])}, kinds) == []
    for signature, changed, found in (
        ("serving_default", {"buy_given_click": np.float32([2, 1])}, "2 in 1 of 2 values"),
        ("rank", {"stars": np.float32([[0.5, 0.6], [1, 0]])}, "1.1 in 1 of 2 values as the sum"),
        ("score_items", {"length": np.float32([np.inf, 1])}, "inf in 1 of 2 values"),
    ):
        (problem,) = check_outputs(signature, {**fine, **changed}, kinds)
        assert problem.found.startswith(found)
    (problem,) = check_outputs("classify", {"scores": np.float32([[-1]])}, kinds)
    assert problem.expected == "probabilities, 0 to 1"
    (problem,) = check_outputs("rank", {name: fine[name] for name in ("click", "stars")}, kinds)
    assert (problem.found, problem.expected) == ("click, stars", "one a task: click, stars, length")


def test_differences() -> None:
    assert difference(np.array([1.0, 200.0]), np.array([1.0, 100.0])) == 1.0
    assert difference(np.array([0.25]), np.array([0.5])) == 0.25
    assert difference(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])) == 0
    assert difference(np.array([np.nan]), np.array([1.0])) == np.inf
    assert difference(np.array([np.inf]), np.array([1.0])) == np.inf
    assert difference(np.zeros(0), np.zeros(3)) == np.inf
    assert difference(np.zeros(0), np.zeros(0)) == 0
    assert difference(np.array([3]), np.array([4])) == 0.25


@pytest.mark.parametrize(
    ("served", "precision", "why"),
    [
        (None, "float32", None),
        (True, "mixed_bfloat16", None),
        (False, "float32", "InfraValidator: found a model that the official image did not serve"),
    ],
)
def test_a_candidate_of_a_run(
    served: bool | None, precision: str, why: str | None, good: Path, examples: list[bytes]
) -> None:
    tasks = {
        "click": {"label": "click == 1"},
        "length": {"label": "length", "kind": "regression"},
    }
    config = {
        "name": "job",
        "data": {
            **{"path": "logs", "logs": "*.csv", "event_key": ["user"], "event_time": "time"},
            **{"user": "user", "train": "2024-01-01", "valid": "2024-01-02", "eval": "2024-01-03"},
        },
        "features": {"categorical": ["user", "tab"]},
        "scenario": {"column": "tab", "values": ["feed"]},
        "tasks": tasks,
        "training": {"precision": precision},
        "model_check": {"repeats": 1},
    }
    result = check_candidate(str(good), examples[:7], Config.model_validate(config), served)
    assert result["rows"] == 7
    assert result["tolerance"] == (1e-6 if precision == "float32" else 0.02)
    assert result["passed"] == (why is None)
    assert [found.partition(";")[0] for found in _whys(result)] == [why] * (why is not None)
