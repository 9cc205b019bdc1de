from __future__ import annotations

import shutil
import threading
import time
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto

from serving.client import Client, PredictError
from serving.model_server import ModelServer
from serving.model_server.batching import Batcher, BatchingParameters
from serving.model_server.metrics import Metrics
from serving.model_server.request_error import RequestError


class Doubling:
    """A model that doubles; keeps what it was run on."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, feeds: Any, fetches: Any) -> list[np.ndarray]:
        self.entered.set()
        assert self.gate.wait(30)
        (values,) = feeds.values()
        self.runs.append(values)
        if (values < 0).any():
            raise tf.errors.InvalidArgumentError(None, None, "negative")
        return [2 * values for _ in fetches]


def signature(inputs: Any = (-1,), outputs: Any = (-1,)) -> Any:
    def info(shape: Any) -> Any:
        proto = TensorShapeProto(unknown_rank=shape is None)
        for size in shape or ():
            proto.dim.add(size=size)
        return SimpleNamespace(tensor_shape=proto)

    return SimpleNamespace(inputs={"x": info(inputs)}, outputs={"y": info(outputs)})


class Asked:
    """Sends requests to a batcher, each from a thread of its own."""

    def __init__(self, **parameters: Any):
        self.model = Doubling()
        parameters = {"batch_timeout_micros": 200_000, "num_batch_threads": 1, **parameters}
        self.metrics = Metrics()
        self.batcher = Batcher(BatchingParameters(**parameters), self.metrics)
        self.batcher.start()
        self.pool = futures.ThreadPoolExecutor(32)

    def send(self, values: Any, of: Any = None, deadline: float = 60) -> Any:
        return self.pool.submit(
            self.batcher.run,
            self.model,
            of or signature(),
            {"x:0": np.asarray(values, np.float32)},
            ["y:0"],
            time.monotonic() + deadline,
        )

    def wait_for(self, rows: int) -> None:
        """Until so many wait for a thread."""
        end = time.monotonic() + 30
        while sum(batch.rows for batch in self.batcher._waiting) < rows:
            assert time.monotonic() < end
            time.sleep(0.01)

    def sizes(self) -> list[int]:
        return [len(values) for values in self.model.runs]


@pytest.fixture
def asking(request: pytest.FixtureRequest) -> Any:
    made: list[Asked] = []

    def make(**parameters: Any) -> Asked:
        made.append(Asked(**parameters))
        return made[-1]

    yield make
    for asked in made:
        asked.model.gate.set()
        asked.pool.shutdown()
        asked.batcher.close()


def answers(sent: list[Any]) -> list[list[float]]:
    return [future.result(10)[0].tolist() for future in sent]


def test_requests_are_merged(asking: Any) -> None:
    asked = asking(max_batch_size=10, batch_timeout_micros=60_000_000)
    assert answers([asked.send([i, i + 0.5]) for i in range(5)]) == [
        [2 * i, 2 * i + 1] for i in range(5)
    ]
    assert asked.sizes() == [10]
    assert b"processed_batch_size_sum 10.0" in asked.metrics.page()


def test_a_full_batch_does_not_wait(asking: Any) -> None:
    asked = asking(max_batch_size=4, batch_timeout_micros=60_000_000)
    assert answers([asked.send([i]) for i in range(8)]) == [[2 * i] for i in range(8)]
    assert asked.sizes() == [4, 4]


def test_a_request_that_does_not_fit_begins_another_batch(asking: Any) -> None:
    asked = asking(max_batch_size=4)
    first, second = asked.send([1, 2, 3]), asked.send([4, 5])
    assert answers([first, second]) == [[2, 4, 6], [8, 10]]
    assert sorted(asked.sizes()) == [2, 3]


def test_a_request_of_more_rows_than_a_batch_runs_alone(asking: Any) -> None:
    asked = asking(max_batch_size=4)
    assert answers([asked.send(range(6))]) == [[0, 2, 4, 6, 8, 10]]


def test_one_that_fails_does_not_fail_the_others(asking: Any) -> None:
    asked = asking(max_batch_size=3, batch_timeout_micros=60_000_000)
    sent = [asked.send([1]), asked.send([-1]), asked.send([2])]
    assert [sent[0].result(10)[0].tolist(), sent[2].result(10)[0].tolist()] == [[2], [4]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="negative"):
        sent[1].result(10)
    assert sorted(asked.sizes()) == [1, 1, 1, 3]


def test_other_shapes_are_not_merged(asking: Any) -> None:
    asked = asking()
    wide = signature((-1, -1), (-1, -1))
    sent = [asked.send([[1.0]], wide), asked.send([[1.0, 2.0]], wide)]
    assert answers(sent) == [[[2]], [[2, 4]]]
    assert asked.sizes() == [1, 1]


@pytest.mark.parametrize(
    "of",
    [signature((1,)), signature(()), signature(None), signature((-1,), ()), signature((-1,), None)],
    ids=["fixed", "scalar", "any rank", "scalar output", "output of any rank"],
)
def test_signatures_without_a_batch_are_not_merged(asking: Any, of: Any) -> None:
    asked = asking(batch_timeout_micros=60_000_000)
    assert answers([asked.send([1], of), asked.send([2], of)]) == [[2], [4]]
    assert asked.sizes() == [1, 1]


def test_no_rows_are_not_merged(asking: Any) -> None:
    assert answers([asking(batch_timeout_micros=60_000_000).send([])]) == [[]]


def test_batches_are_padded(asking: Any) -> None:
    asked = asking(max_batch_size=8, allowed_batch_sizes=(4, 8))
    assert answers([asked.send([i]) for i in range(3)]) == [[0], [2], [4]]
    assert set(asked.sizes()) == {4}


def test_a_request_whose_deadline_passed_is_not_run(asking: Any) -> None:
    asked = asking(batch_timeout_micros=0)
    asked.model.gate.clear()
    first = asked.send([1])
    assert asked.model.entered.wait(30)
    late, patient = asked.send([2], deadline=0.1), asked.send([3])
    asked.wait_for(rows=2)
    time.sleep(0.2)
    asked.model.gate.set()
    assert answers([first, patient]) == [[2], [6]]
    with pytest.raises(RequestError, match="Deadline Exceeded") as caught:
        late.result(10)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 2 not in np.concatenate(asked.model.runs)


def test_a_full_queue(asking: Any) -> None:
    asked = asking(batch_timeout_micros=0, max_batch_size=1, max_enqueued_batches=2)
    asked.model.gate.clear()
    sent = [asked.send([1])]
    assert asked.model.entered.wait(30)
    sent += [asked.send([2]), asked.send([3])]
    asked.wait_for(rows=2)
    with pytest.raises(RequestError, match="queue to which this task was submitted is full") as no:
        asked.send([4]).result(10)
    assert no.value.code == grpc.StatusCode.UNAVAILABLE
    asked.model.gate.set()
    assert answers(sent) == [[2], [4], [6]]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size: found 0; expected at least 1"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros: found -1; expected at least 0"),
        ({"num_batch_threads": 0}, "num_batch_threads: found 0; expected at least 1"),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            r"allowed_batch_sizes: found \[2, 4\]; expected growing sizes up to max_batch_size, 8",
        ),
    ],
)
def test_parameters_that_are_none(parameters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingParameters(**parameters)


def test_a_server_that_merges_answers_as_one_that_does_not(
    toys: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(toys[1], tmp_path / "1")
    batching = BatchingParameters(max_batch_size=16, batch_timeout_micros=20_000)
    ages = np.linspace(-3, 3, 60)
    with (
        ModelServer(tmp_path, "toy", batching=batching, rest_port=0) as server,
        Client(server.address, timeout=30) as client,
        futures.ThreadPoolExecutor(16) as pool,
    ):

        def score(age: float) -> float:
            return float(client.predict("toy", [{"age": age}])["click"][0])

        found = list(pool.map(score, ages))
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-ages - 1)), atol=1e-6)

        def scaled(scale: int) -> list[float]:
            inputs = {"wide": np.float32([[1, 2]]), "scale": np.int64(scale)}
            return client.call("toy", "scaled", inputs, outputs=["scaled"])["scaled"].tolist()

        # A scalar among the inputs: each for itself.
        assert list(pool.map(scaled, range(8))) == [[[i, 2 * i]] for i in range(8)]

        def refused(_: int) -> str:
            with pytest.raises(PredictError) as caught:
                client.call("toy", "serving_default", {"examples": [b"none"]})
            return caught.value.code.name

        mixed = [pool.submit(score, 0.0), pool.submit(refused, 0), pool.submit(score, 1.0)]
        assert mixed[1].result() == "INVALID_ARGUMENT"
        assert mixed[0].result() == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
        assert b"processed_batch_size_count" in server._metrics.page()
