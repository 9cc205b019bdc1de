from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving import versions
from serving.client import Client, PredictError, TensorSpec, VersionStatus
from serving.model_server import ModelServer

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Fake(PredictionServiceServicer):
    """Keeps requests; answers from a list of statuses, then well."""

    def __init__(self, *refusals: grpc.StatusCode, delay: float = 0.0):
        self.refusals, self.delay = list(refusals), delay
        self.version, self.text, self.numeric = 1, ["user_id", "tab"], ["age", "height"]
        self.requests: list[PredictRequest] = []
        self.times: list[float] = []
        self.as_content = False

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        self.requests.append(request)
        self.times.append(time.monotonic())
        time.sleep(self.delay)
        if self.refusals:
            context.abort(self.refusals.pop(0), "not now")
        response = PredictResponse()
        response.model_spec.version.value = self.version
        if request.model_spec.signature_name == "request_columns":
            response.outputs["text"].CopyFrom(tf.make_tensor_proto(self.text, tf.string))
            response.outputs["numeric"].CopyFrom(tf.make_tensor_proto(self.numeric, tf.string))
            return response
        scores = np.arange(len(request.inputs["examples"].string_val), dtype=np.float32) / 8
        click = response.outputs["click"]
        if self.as_content:
            click.CopyFrom(tf.make_tensor_proto(scores))
        else:
            click.dtype = 1
            click.tensor_shape.dim.add(size=len(scores))
            click.float_val.extend(scores)
        return response

    def examples(self) -> list[dict[str, Any]]:
        features = [
            Example.FromString(text).features.feature
            for text in self.requests[-1].inputs["examples"].string_val
        ]
        return [
            {
                name: list(getattr(feature, feature.WhichOneof("kind")).value)
                for name, feature in feature_map.items()
            }
            for feature_map in features
        ]


Serve = Callable[..., Client]


@pytest.fixture
def serve_fake() -> Iterator[Serve]:
    """Starts a server and returns a client of it."""
    ending: list[Callable[[], Any]] = []

    def start(fake: Fake, **options: Any) -> Client:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        add_PredictionServiceServicer_to_server(fake, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = Client(f"127.0.0.1:{port}", **options)
        ending.extend([client.close, lambda: server.stop(None).wait()])
        return client

    yield start
    for end in ending:
        end()


def test_scores_are_those_of_the_saved_model(
    exported: Path, tmp_path: Path, log_rows: Any, as_examples: Any
) -> None:
    versions.push(exported, tmp_path, keep=1)
    expected = tf.saved_model.load(str(exported)).signatures["serving_default"](
        examples=tf.constant(as_examples(log_rows))
    )
    with ModelServer(tmp_path, "ranker") as server, Client(server.address) as client:
        scores = client.predict("ranker", log_rows)
        assert {k: v.shape for k, v in client.predict("ranker", []).items()} == {
            "like": (0,),
            "click": (0,),
        }
    assert set(scores) == {"like", "click"}
    for task, values in scores.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[task].numpy(), rtol=0, atol=1e-6)


def test_values_are_written_by_their_column(serve_fake: Serve) -> None:
    fake = Fake()
    serve_fake(fake).predict(
        "m",
        [
            {"user_id": "ü7", "tab": b"\xff", "age": 3, "height": 1.5},
            {"user_id": 7, "tab": np.int64(-1), "age": np.float64(0.25), "height": np.int32(0)},
            {"user_id": None, "age": None, "tab": "", "height": float("nan")},
            {},
        ],
    )
    assert fake.examples() == [
        {"user_id": ["ü7".encode()], "tab": [b"\xff"], "age": [3.0], "height": [1.5]},
        {"user_id": [b"7"], "tab": [b"-1"], "age": [0.25], "height": [0.0]},
        {"tab": [b""]},
        {},
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"usr_id": "7"},
            r"row 2: found the column usr_id; expected columns among user_id, tab, a",
        ),
        ({"user_id": 7.0}, r"row 2, user_id: found 7\.0; expected text or an integer, or None"),
        ({"user_id": True}, r"row 2, user_id: found True; expected text or an integer"),
        ({"user_id": "\ud800"}, r"row 2, user_id: found '\\ud800'; expected text or an integer"),
        ({"age": "7"}, r"row 2, age: found '7'; expected a finite float32, or None if missing"),
        ({"age": False}, r"row 2, age: found False; expected a finite float32"),
        ({"age": float("inf")}, r"row 2, age: found inf; expected a finite float32"),
        ({"age": -1e39}, r"row 2, age: found -1e\+39; expected a finite float32"),
    ],
)
def test_values_that_do_not_fit(serve_fake: Serve, row: Any, message: str) -> None:
    fake = Fake()
    with pytest.raises(ValueError, match=message):
        serve_fake(fake).predict("m", [{"age": 1}, row])
    assert [r.model_spec.signature_name for r in fake.requests] == ["request_columns"]


@pytest.mark.parametrize("as_content", [False, True])
def test_both_forms_of_a_tensor_are_read(serve_fake: Serve, as_content: bool) -> None:
    fake = Fake()
    fake.as_content = as_content
    scores = serve_fake(fake).predict("m", [{}, {}, {}])
    assert scores["click"].tolist() == [0, 0.125, 0.25]
    assert scores["click"].dtype == np.float32


def test_columns_are_asked_for_once_a_version(serve_fake: Serve) -> None:
    fake = Fake()
    client = serve_fake(fake)
    for _ in range(3):
        client.predict("m", [{"age": 1}])
    assert len(fake.requests) == 4

    fake.version, fake.numeric = 2, ["age", "height", "weight"]
    client.predict("m", [{"age": 1}])
    client.predict("m", [{"weight": 1}])
    assert fake.examples() == [{"weight": [1.0]}]
    assert len(fake.requests) == 4 + 1 + 2


def test_columns_are_asked_for_again_after_a_refusal(serve_fake: Serve) -> None:
    fake = Fake()
    client = serve_fake(fake)
    client.predict("m", [{"age": 1}])
    fake.refusals, fake.text, fake.numeric = [grpc.StatusCode.INVALID_ARGUMENT], ["age"], []
    with pytest.raises(PredictError):
        client.predict("m", [{"age": 1}])
    client.predict("m", [{"age": 1}])
    assert fake.examples() == [{"age": [b"1"]}]


def test_an_unavailable_server_is_asked_again(serve_fake: Serve) -> None:
    fake = Fake(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    scores = serve_fake(fake, backoff=0.05).predict("m", [{}])
    assert scores["click"].tolist() == [0]
    assert len(fake.requests) == 4 + 1
    pauses = np.diff(fake.times[:4])
    assert all(pauses >= [0.025, 0.05, 0.1])


def test_retries_end(serve_fake: Serve) -> None:
    fake = Fake(*[UNAVAILABLE] * 9)
    client = serve_fake(fake, backoff=0.001, retries=2)
    with pytest.raises(PredictError, match=r"127\.0\.0\.1:\d+: UNAVAILABLE: not now") as caught:
        client.predict("m", [{}])
    assert caught.value.code is UNAVAILABLE
    assert caught.value.details == "not now"
    assert len(fake.requests) == 3


@pytest.mark.parametrize(
    "name", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "RESOURCE_EXHAUSTED"]
)
def test_other_refusals_are_final(serve_fake: Serve, name: str) -> None:
    fake = Fake(grpc.StatusCode[name])
    with pytest.raises(PredictError, match=f"{name}: not now"):
        serve_fake(fake).predict("m", [{}])
    assert len(fake.requests) == 1


def test_the_deadline_holds(serve_fake: Serve) -> None:
    fake = Fake(delay=1.0)
    with pytest.raises(PredictError, match="DEADLINE_EXCEEDED"):
        serve_fake(fake, timeout=0.2).predict("m", [{}])


def test_the_deadline_holds_for_retries_together() -> None:
    start = time.monotonic()
    with Client("127.0.0.1:1", timeout=0.5, retries=1000) as client:
        with pytest.raises(PredictError, match="127.0.0.1:1: (UNAVAILABLE|DEADLINE_EXCEEDED)"):
            client.predict("m", [{}])
    # All 1000 would wait for minutes; a busy machine does not.
    assert time.monotonic() - start < 60


def test_a_server_that_starts_later_is_found(toys: list[Path], tmp_path: Path) -> None:
    versions.push(toys[0], tmp_path, keep=1)
    with ModelServer(tmp_path, "toy") as server:
        port = server.port
    scores: list[dict[str, np.ndarray]] = []
    with Client(f"127.0.0.1:{port}", timeout=20, retries=50) as client:
        asker = threading.Thread(target=lambda: scores.append(client.predict("toy", [{"age": 0}])))
        asker.start()
        time.sleep(0.5)
        assert not scores
        with ModelServer(tmp_path, "toy", port=port):
            asker.join()
    assert scores[0]["click"].tolist() == [0.5]


def test_refusals_of_the_server_come_through(toys: list[Path], tmp_path: Path) -> None:
    versions.push(toys[0], tmp_path, keep=1)
    with ModelServer(tmp_path, "toy") as server, Client(server.address) as client:
        with pytest.raises(PredictError, match=r"NOT_FOUND: Servable not found .*Latest\(nobody\)"):
            client.predict("nobody", [{}])


def test_threads_may_share_a_client(toys: list[Path], tmp_path: Path) -> None:
    versions.push(toys[1], tmp_path, keep=1)
    with ModelServer(tmp_path, "toy") as server, Client(server.address) as client:
        with futures.ThreadPoolExecutor(8) as pool:
            ages = np.linspace(-3, 3, 40)
            asked = pool.map(lambda age: client.predict("toy", [{"age": age}])["click"][0], ages)
            np.testing.assert_allclose(list(asked), 1 / (1 + np.exp(-ages - 1)), atol=1e-6)


# --- the other calls --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_server(toys: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Versions 1 and 2 with the biases 0 and 1, the first one labelled."""
    base = tmp_path_factory.mktemp("client")
    for number in (1, 2):
        shutil.copytree(toys[number - 1], base / str(number))
    config = ModelServerConfig()
    entry = config.model_config_list.config.add(
        name="toy", base_path=str(base), model_platform="tensorflow"
    )
    entry.model_version_policy.all.SetInParent()
    entry.version_labels["stable"] = 1
    with ModelServer(config, labels_of_unavailable=True) as server:
        yield server


@pytest.fixture
def toy_client(toy_server: ModelServer) -> Iterator[Client]:
    with Client(toy_server.address) as client:
        yield client


def test_a_signature_is_called_with_arrays(toy_client: Client) -> None:
    inputs = {"wide": np.float32([[1, 2], [3, 4]]), "scale": np.int64(3)}
    wanted = ["scaled", "echo", "text", "is_large"]
    outputs = toy_client.call("toy", "scaled", inputs, outputs=wanted)
    assert {name: value.tolist() for name, value in outputs.items()} == {
        "echo": 3,
        "is_large": [[False, False], [False, False]],
        "scaled": [[3, 6], [9, 12]],
        "text": b"3",
    }
    assert outputs["scaled"].dtype == np.float32 and outputs["echo"].dtype == np.int64


def test_numbers_travel_as_they_lie_in_memory(serve_fake: Serve) -> None:
    fake = Fake()
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    sent = {
        "examples": np.array([b"x"], object),
        "columns": wide[:, ::2],
        "words": np.array(["a", "ü"]),
        "ids": np.array([1, 2], ">i8"),
    }
    serve_fake(fake).call("m", "rank", sent)
    inputs = fake.requests[-1].inputs
    assert inputs["columns"].tensor_content and not inputs["columns"].float_val
    received = {name: tf.make_ndarray(tensor) for name, tensor in inputs.items()}
    assert received["columns"].tolist() == [[0, 2], [4, 6], [8, 10]]
    assert received["words"].tolist() == [b"a", "ü".encode()]
    assert received["ids"].tolist() == [1, 2]
    assert fake.requests[-1].model_spec.signature_name == "rank"


def test_the_last_value_stands_for_those_left_out(serve_fake: Serve) -> None:
    class Short(Fake):
        def Predict(self, request: Any, context: Any) -> PredictResponse:  # noqa: N802
            response = PredictResponse()
            response.outputs["y"].dtype = 1
            response.outputs["y"].tensor_shape.dim.add(size=3)
            response.outputs["y"].float_val.extend([1.0, 2.0])
            return response

    assert serve_fake(Short()).call("m", "s", {})["y"].tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float16([1]), "input x: found float16; expected float32, float64, int32, int64, bool "),
        (np.array([1, "a"], object), "input x: found 1; expected float32"),
    ],
)
def test_arrays_that_cannot_be_sent(toy_client: Client, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy_client.call("toy", "scaled", {"x": value})


def test_an_output_of_another_type(toy_client: Client) -> None:
    inputs = {"wide": np.float32([[1, 2]]), "scale": np.int64(3)}
    with pytest.raises(ValueError, match="output half: found DataType 19; expected float32"):
        toy_client.call("toy", "scaled", inputs, outputs=["half"])


def test_a_version_or_a_label(toy_client: Client) -> None:
    def click(**which: Any) -> float:
        return float(toy_client.predict("toy", [{"age": 0}], **which)["click"][0])

    assert click() == click(version=2) == pytest.approx(1 / (1 + np.exp(-1)))
    assert click(version=1) == click(label="stable") == 0.5
    with pytest.raises(ValueError, match="version and label: found 1 and 'stable'; expected"):
        click(version=1, label="stable")
    with pytest.raises(PredictError, match=r"Specific\(toy, 7\)"):
        click(version=7)


def test_signatures(toy_client: Client) -> None:
    signatures = toy_client.signatures("toy")
    assert list(signatures) == sorted(signatures)
    assert signatures["scaled"].inputs == {
        "scale": TensorSpec("int64", ()),
        "wide": TensorSpec("float32", (None, 2)),
    }
    assert signatures["serving_default"].inputs == {"examples": TensorSpec("text", (None,))}
    assert signatures["scaled"].outputs["half"] == TensorSpec("DataType 19", (None, 2))


def test_status(toy_client: Client) -> None:
    newest, oldest = VersionStatus(2, "AVAILABLE", ""), VersionStatus(1, "AVAILABLE", "")
    assert toy_client.status("toy") == [newest, oldest]
    assert toy_client.status("toy", version=1) == [oldest]
    with pytest.raises(PredictError, match="Could not find any versions of model nobody"):
        toy_client.status("nobody")


def test_a_bad_timeout() -> None:
    with pytest.raises(ValueError, match="timeout: found 0; expected more than 0 seconds"):
        Client("127.0.0.1:1", timeout=0)


def test_it_starts_without_tensorflow() -> None:
    script = "import serving.client, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert {"grpc", "numpy", "serving"} <= imported
    assert imported & {"tensorflow", "tensorflow_serving", "tf_keras", "keras"} == set()
