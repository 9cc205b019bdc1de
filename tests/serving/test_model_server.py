from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving import versions
from serving.client import Client
from serving.model_server import PREDICTION_SERVICE, ModelServer, serve

AGES = [0.0, 1.5, -2.0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


class Stubs:
    def __init__(self, channel: grpc.Channel):
        self.prediction = PredictionServiceStub(channel)
        self.model = ModelServiceStub(channel)
        self.health = HealthStub(channel)

    def predict(self, request: PredictRequest) -> PredictResponse:
        return self.prediction.Predict(request, timeout=10)

    def states(self, model: str = "toy", **version: Any) -> dict[int, Any]:
        request = GetModelStatusRequest()
        request.model_spec.name = model
        if version:
            request.model_spec.version.value = version["version"]
        statuses = self.model.GetModelStatus(request, timeout=10).model_version_status
        return {status.version: status for status in statuses}


@contextlib.contextmanager
def connected(server: ModelServer) -> Iterator[Stubs]:
    with grpc.insecure_channel(server.address) as channel:
        yield Stubs(channel)


@pytest.fixture(scope="module")
def stubs(toys: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """Of a server with the toy of bias 0 as version 7."""
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(toys[0], base / "7")
    with ModelServer(base, "toy") as server, connected(server) as stubs:
        yield stubs


@pytest.fixture
def request_(as_examples: Any) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = "toy"
    examples = as_examples([{"age": age, "tab": "feed"} for age in AGES])
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(examples))
    return request


def scaled_request() -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "scaled"
    request.inputs["wide"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]))
    request.inputs["scale"].CopyFrom(tf.make_tensor_proto(3, tf.int64))
    return request


def clicks(response: PredictResponse) -> list[float]:
    return tf.make_ndarray(response.outputs["click"]).tolist()


def expected_clicks(bias: float) -> Any:
    return pytest.approx([1 / (1 + math.exp(-age - bias)) for age in AGES], abs=1e-6)


def refusal(call: Any, *arguments: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    return caught.value.code(), caught.value.details()


# --- answers ----------------------------------------------------------------------------------


def test_predict(stubs: Stubs, request_: PredictRequest) -> None:
    response = stubs.predict(request_)
    assert clicks(response) == expected_clicks(0)
    assert set(response.outputs) == {"click", "like"}
    # As fields of their type, which is what TensorFlow Serving sends.
    assert len(response.outputs["click"].float_val) == len(AGES)
    assert response.model_spec.name == "toy"
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"


def test_predict_a_version_by_its_number(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.version.value = 7
    assert clicks(stubs.predict(request_)) == expected_clicks(0)


def test_only_the_outputs_asked_for(stubs: Stubs, request_: PredictRequest) -> None:
    request_.output_filter.append("like")
    assert set(stubs.predict(request_).outputs) == {"like"}


def test_no_rows(stubs: Stubs, request_: PredictRequest) -> None:
    request_.inputs["examples"].CopyFrom(tf.make_tensor_proto([], tf.string))
    assert clicks(stubs.predict(request_)) == []


def test_every_type_of_output(stubs: Stubs) -> None:
    outputs = stubs.predict(scaled_request()).outputs
    got = {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}
    assert got["scaled"].tolist() == [[3.0, 6.0], [9.0, 12.0]]
    assert got["echo"].tolist() == 3 and got["echo"].dtype == np.int64
    assert got["text"].tolist() == b"3"
    assert got["is_large"].tolist() == [[False, False], [False, False]]
    assert got["half"].dtype == np.float16 and got["half"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_metadata(stubs: Stubs) -> None:
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = stubs.prediction.GetModelMetadata(request, timeout=10)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 7)
    signatures = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.inputs["examples"].dtype == tf.string.as_datatype_enum
    assert set(signature.outputs) == {"click", "like"}


def test_status(stubs: Stubs) -> None:
    assert {v: s.state for v, s in stubs.states().items()} == {7: ModelVersionStatus.AVAILABLE}
    assert set(stubs.states(version=7)) == {7}


@pytest.mark.parametrize("service", ["", PREDICTION_SERVICE])
def test_health(stubs: Stubs, service: str) -> None:
    response = stubs.health.Check(HealthCheckRequest(service=service), timeout=10)
    assert response.status == HealthCheckResponse.SERVING


# --- refusals: code and text are TensorFlow Serving's -----------------------------------------


def test_unknown_signature(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.signature_name = "rang"
    assert refusal(stubs.predict, request_) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "rang" not found.',
    )


def test_unknown_model(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.name = "nobody"
    assert refusal(stubs.predict, request_) == (
        NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
    )
    request_.model_spec.version.value = 7
    assert refusal(stubs.predict, request_) == (
        NOT_FOUND,
        "Servable not found for request: Specific(nobody, 7)",
    )


def test_unknown_version(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.version.value = 8
    assert refusal(stubs.predict, request_) == (
        NOT_FOUND,
        "Servable not found for request: Specific(toy, 8)",
    )


def test_unknown_label(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.version_label = "canary"
    assert refusal(stubs.predict, request_) == (
        INVALID,
        "Unrecognized servable version label: canary",
    )


def test_no_model_name(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.name = ""
    assert refusal(stubs.predict, request_) == (INVALID, "ModelSpec has no name specified.")


def test_extra_input(stubs: Stubs, request_: PredictRequest) -> None:
    request_.inputs["more"].CopyFrom(tf.make_tensor_proto([1.0]))
    assert refusal(stubs.predict, request_) == (
        INVALID,
        "input size does not match signature: 2!=1 len({examples,more}) != len({examples}). "
        "Sent extra: {more}. Missing but required: {}.",
    )


def test_missing_inputs(stubs: Stubs) -> None:
    request = scaled_request()
    del request.inputs["scale"]
    assert refusal(stubs.predict, request) == (
        INVALID,
        "input size does not match signature: 1!=2 len({wide}) != len({scale,wide}). "
        "Sent extra: {}. Missing but required: {scale}.",
    )
    request.inputs.clear()
    assert refusal(stubs.predict, request) == (
        INVALID,
        "input size does not match signature: 0!=2 len({}) != len({scale,wide}). "
        "Sent extra: {}. Missing but required: {scale,wide}.",
    )


def test_misnamed_input(stubs: Stubs, request_: PredictRequest) -> None:
    request_.inputs["instances"].CopyFrom(request_.inputs.pop("examples"))
    assert refusal(stubs.predict, request_) == (
        INVALID,
        "Signature input alias: examples(feed name: serving_default_examples:0) not found in "
        "request and no default value provided. Inputs expected to be in the request {instances}, "
        "or default input alias set: ",
    )


def test_wrong_type(stubs: Stubs, request_: PredictRequest) -> None:
    request_.inputs["examples"].CopyFrom(tf.make_tensor_proto([1.0]))
    assert refusal(stubs.predict, request_) == (
        INVALID,
        "Expects arg[0] to be string but float is provided",
    )


@pytest.mark.parametrize(
    ("value", "shape"), [(b"", r"[]"), ([[b"", b""]], r"[1, 2]")], ids=["scalar", "matrix"]
)
def test_wrong_shape(stubs: Stubs, request_: PredictRequest, value: Any, shape: str) -> None:
    request_.inputs["examples"].CopyFrom(tf.make_tensor_proto(value))
    assert refusal(stubs.predict, request_) == (
        INVALID,
        f"Shape of input examples: found {shape}; expected (None,)",
    )


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": 7, "tensor_shape": {"dim": [{"size": 1 << 40}]}, "string_val": [b""]},
        {"dtype": 7, "tensor_shape": {"dim": [{"size": -1}]}, "string_val": [b""]},
        {"dtype": 7, "tensor_shape": {"dim": [{"size": 1}]}, "string_val": [b"", b""]},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}, "tensor_content": b"123"},
        {"dtype": 0},
        {"dtype": 21},
    ],
    ids=["huge", "negative", "too many values", "cut short", "no type", "a variant"],
)
def test_a_tensor_that_is_none(stubs: Stubs, request_: PredictRequest, tensor: Any) -> None:
    request_.inputs["examples"].CopyFrom(TensorProto(**tensor))
    assert refusal(stubs.predict, request_) == (INVALID, "tensor parsing error: examples")


@pytest.mark.parametrize(
    ("example", "quoted"), [(b"no example", "no example"), (b"\n\xff\x80", "\n\ufffd\ufffd")]
)
def test_an_example_that_is_none(
    stubs: Stubs, request_: PredictRequest, example: bytes, quoted: str
) -> None:
    request_.inputs["examples"].CopyFrom(tf.make_tensor_proto([example]))
    code, text = refusal(stubs.predict, request_)
    assert code == INVALID
    assert text.startswith(f"Could not parse example input, value: '{quoted}'")


def test_unknown_output(stubs: Stubs, request_: PredictRequest) -> None:
    request_.output_filter.append("clack")
    assert refusal(stubs.predict, request_) == (
        INVALID,
        "output tensor alias not found in signature: clack Outputs expected to be in the set "
        "{click,like}.",
    )


def test_an_output_twice(stubs: Stubs, request_: PredictRequest) -> None:
    request_.output_filter.extend(["like", "click", "like"])
    assert refusal(stubs.predict, request_) == (INVALID, "duplicate output tensor alias: like")


def test_a_long_text_is_cut(stubs: Stubs, request_: PredictRequest) -> None:
    request_.model_spec.name = "m" * 2000
    _, text = refusal(stubs.predict, request_)
    assert text.startswith("Servable not found for request: Latest(mmm")
    assert text.endswith("mmm...TRUNCATED")
    assert len(text) == 1024 + len("...TRUNCATED")


def test_metadata_refused(stubs: Stubs) -> None:
    call = stubs.prediction.GetModelMetadata
    request = GetModelMetadataRequest()
    assert refusal(call, request) == (INVALID, "Missing ModelSpec")
    request.model_spec.name = "toy"
    assert refusal(call, request) == (
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("weights")
    assert refusal(call, request) == (INVALID, "Metadata field weights is not supported")
    request.metadata_field[:] = ["signature_def"]
    request.model_spec.name = "nobody"
    assert refusal(call, request) == (NOT_FOUND, "Servable not found for request: Latest(nobody)")


def test_status_refused(stubs: Stubs) -> None:
    assert refusal(stubs.model.GetModelStatus, GetModelStatusRequest()) == (
        INVALID,
        "Missing ModelSpec",
    )
    assert refusal(stubs.states, "nobody") == (
        NOT_FOUND,
        "Could not find any versions of model nobody",
    )
    with pytest.raises(grpc.RpcError) as caught:
        stubs.states(version=8)
    assert caught.value.code() == NOT_FOUND
    assert caught.value.details() == "Could not find version 8 of model toy"


# --- versions ---------------------------------------------------------------------------------


def wait_until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_an_empty_folder_is_watched(
    toys: list[Path], tmp_path: Path, request_: PredictRequest
) -> None:
    with ModelServer(tmp_path, "toy", poll_seconds=0.05) as server, connected(server) as stubs:
        check = HealthCheckRequest(service=PREDICTION_SERVICE)
        assert stubs.health.Check(check).status == HealthCheckResponse.NOT_SERVING
        assert refusal(stubs.predict, request_) == (
            NOT_FOUND,
            "Servable not found for request: Latest(toy)",
        )
        version = versions.push(toys[1], tmp_path, keep=1)
        wait_until(lambda: server.version == version)
        wait_until(lambda: stubs.health.Check(check).status == HealthCheckResponse.SERVING)
        assert clicks(stubs.predict(request_)) == expected_clicks(1)


def test_versions_are_swapped_without_a_failed_request(
    toys: list[Path], tmp_path: Path, request_: PredictRequest
) -> None:
    bias_of = {versions.push(toys[0], tmp_path, keep=2): 0}
    answered: list[tuple[int, list[float]]] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def ask(stubs: Stubs) -> None:
        while not done.is_set():
            try:
                response = stubs.predict(request_)
                answered.append((response.model_spec.version.value, clicks(response)))
            except BaseException as error:
                failed.append(error)
                return

    with ModelServer(tmp_path, "toy", poll_seconds=0.02) as server, connected(server) as stubs:
        askers = [threading.Thread(target=ask, args=(stubs,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        try:
            for swap in range(1, 6):
                version = versions.push(toys[swap % 3], tmp_path, keep=2)
                bias_of[version] = swap % 3
                wait_until(lambda version=version: server.version == version)
        finally:
            done.set()
            for asker in askers:
                asker.join()
        states = {v: status.state for v, status in stubs.states().items()}
    assert not failed
    assert len({version for version, _ in answered}) > 2
    for version, values in answered:
        assert values == expected_clicks(bias_of[version])
    *old, newest = sorted(bias_of)
    assert states == dict.fromkeys(old, ModelVersionStatus.END) | {
        newest: ModelVersionStatus.AVAILABLE
    }


@pytest.mark.parametrize("damage", ["graph", "variables"])
def test_a_version_that_does_not_load_leaves_the_last_one(
    damage: str,
    toys: list[Path],
    tmp_path: Path,
    request_: PredictRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = versions.push(toys[0], tmp_path / "base", keep=5)
    with ModelServer(tmp_path / "base", "toy", poll_seconds=60) as server:
        bad = versions.push(toys[1], tmp_path / "base", keep=5)
        if damage == "graph":
            (tmp_path / "base" / str(bad) / "saved_model.pb").write_bytes(b"\xff" * 100)
        else:
            (shard,) = (tmp_path / "base" / str(bad) / "variables").glob("*.data-*")
            shard.write_bytes(b"")
        for _ in range(10):
            server.poll()
        assert caplog.text.count(f"toy version {bad} does not load") == 1
        (tried,) = re.findall(
            r'load_attempt_count\{.*"fail".*\} (.*)', server._metrics.page().decode()
        )
        assert tried == "6.0"
        with connected(server) as stubs:
            status = stubs.states()[bad]
            assert status.state == ModelVersionStatus.END
            assert status.status.error_code != 0
            assert status.status.error_message
            assert clicks(stubs.predict(request_)) == expected_clicks(0)
            assert server.version == good

            better = versions.push(toys[2], tmp_path / "base", keep=5)
            server.poll()
            assert server.version == better
            assert clicks(stubs.predict(request_)) == expected_clicks(2)


def test_the_folder_may_go_and_come_back(
    toys: list[Path], tmp_path: Path, request_: PredictRequest
) -> None:
    base = tmp_path / "base"
    versions.push(toys[0], base, keep=1)
    with ModelServer(base, "toy", poll_seconds=0.02) as server, connected(server) as stubs:
        base.rename(tmp_path / "away")
        time.sleep(0.1)
        assert clicks(stubs.predict(request_)) == expected_clicks(0)
        (tmp_path / "away").rename(base)
        version = versions.push(toys[1], base, keep=1)
        wait_until(lambda: server.version == version)


# --- start and stop ---------------------------------------------------------------------------


def test_folders_that_are_none(toys: list[Path], tmp_path: Path) -> None:
    expected = "expected a folder of numbered versions"
    with pytest.raises(ValueError, match=f"absent: found no such folder; {expected}"):
        ModelServer(tmp_path / "absent", "toy")
    with pytest.raises(ValueError, match=f"found a single version; {expected}. Give "):
        ModelServer(toys[0], "toy")
    versions.push(toys[0], tmp_path / "ranker", keep=1)
    with pytest.raises(ValueError, match=f"found models; {expected}. Give one, such as .*ranker"):
        ModelServer(tmp_path, "toy")
    with pytest.raises(ValueError, match="poll_seconds: found 0; expected more than 0"):
        ModelServer(tmp_path / "ranker", "toy", poll_seconds=0)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with ModelServer(tmp_path, "toy") as server:
        with pytest.raises(OSError, match=f"127.0.0.1:{server.port}: found it taken"):
            with ModelServer(tmp_path, "toy", port=server.port):
                pass


def test_a_stopped_server_does_not_answer(
    toys: list[Path], tmp_path: Path, request_: PredictRequest
) -> None:
    versions.push(toys[0], tmp_path, keep=1)
    with ModelServer(tmp_path, "toy") as server, connected(server) as stubs:
        stubs.predict(request_)
    with connected(server) as stubs:
        assert refusal(stubs.predict, request_)[0] == grpc.StatusCode.UNAVAILABLE


def test_serve_until_interrupted(
    toys: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = versions.push(toys[0], tmp_path, keep=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scores: list[dict[str, np.ndarray]] = []
    before = signal.getsignal(signal.SIGINT)

    def ask_then_interrupt() -> None:
        try:
            with Client(f"127.0.0.1:{port}", timeout=20, retries=50) as client:
                scores.append(client.predict("toy", [{"age": 0}]))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    asker = threading.Thread(target=ask_then_interrupt)
    asker.start()
    serve(str(tmp_path), "toy", port=port)
    asker.join()
    assert scores[0]["click"].tolist() == [0.5]
    assert signal.getsignal(signal.SIGINT) is before
    printed = capsys.readouterr()
    assert printed.out == (
        f"A local stand-in for TensorFlow Serving answers on 127.0.0.1:{port}: "
        f"model toy, version {version}\n"
    )
    assert f"toy version {version} is available" in printed.err


def test_sigterm_ends_it_well(toys: list[Path], tmp_path: Path) -> None:
    versions.push(toys[0], tmp_path, keep=1)
    script = "import sys; from serving.model_server import serve; serve(sys.argv[1], 'toy', port=0)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        ready = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.wait(30) == 0
    assert "answers on 127.0.0.1:" in ready
    assert rest == ""


def test_a_scalar_of_text_keeps_its_zeros(toys: list[Path]) -> None:
    from serving.model_server.servable import Servable

    servable = Servable(str(toys[0]))
    try:
        with servable._graph.as_default():
            text = tf.constant(b"a\0\0")
        (value,) = servable.run({}, [text.name])
    finally:
        servable.close()
    assert value.tolist() == b"a\0\0" and value.dtype == object


def test_a_request_whose_deadline_has_passed_is_not_run(
    toys: list[Path],
    tmp_path: Path,
    request_: PredictRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from serving.model_server.servable import Servable

    versions.push(toys[0], tmp_path, keep=1)
    entered, leave, runs = threading.Event(), threading.Event(), []
    run = Servable.run

    def slow(self: Servable, *arguments: Any) -> Any:
        runs.append(arguments)
        entered.set()
        assert leave.wait(30)
        return run(self, *arguments)

    with ModelServer(tmp_path, "toy", threads=1) as server, connected(server) as stubs:
        monkeypatch.setattr(Servable, "run", slow)
        first = stubs.prediction.Predict.future(request_, timeout=60)
        assert entered.wait(30)
        # The only thread is busy.
        late = stubs.prediction.Predict.future(request_, timeout=0.2)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        leave.set()
        assert clicks(first.result()) == expected_clicks(0)
        assert clicks(stubs.predict(request_)) == expected_clicks(0)
    assert len(runs) == 2
