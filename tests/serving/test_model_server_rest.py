"""REST where TensorFlow Serving sets no example; the rest is in the conformance suite."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.client import Client, PredictError
from serving.model_server import ModelServer
from serving.model_server.servable import Servable


@pytest.fixture(scope="module")
def server(toys: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base = tmp_path_factory.mktemp("rest")
    shutil.copytree(toys[0], base / "7")
    with ModelServer(base, "toy", rest_port=0) as server:
        yield server


@pytest.fixture
def connection(server: ModelServer) -> Iterator[http.client.HTTPConnection]:
    assert server.rest_address is not None
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)
    yield connection
    connection.close()


def ask(connection: Any, method: str, path: str, body: Any = None, **headers: str) -> Any:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def predict(connection: Any, body: Any, name: str = "toy") -> Any:
    return ask(connection, "POST", f"/v1/models/{name}:predict", json.dumps(body))


SCALED = {"signature_name": "scaled", "inputs": {"wide": [[1, 2], [3, 4.5]], "scale": 3}}


def test_a_connection_is_kept(connection: http.client.HTTPConnection) -> None:
    sockets = set()
    for _ in range(3):
        status, text = predict(connection, SCALED)
        outputs = json.loads(text)["outputs"]
        assert status == 200
        assert outputs["scaled"] == [[3, 6], [9, 13.5]] and outputs["half"] == [[1, 2], [3, 4.5]]
        assert outputs["is_large"] == [[False, False], [False, False]]
        assert (outputs["echo"], outputs["text"]) == (3, "3")
        sockets.add(connection.sock)
    assert len(sockets) == 1 and None not in sockets


def test_numbers_are_short(connection: http.client.HTTPConnection) -> None:
    body = {"signature_name": "scaled", "inputs": {"wide": [[0.1, 1e-7]], "scale": 1}}
    assert json.loads(predict(connection, body)[1])["outputs"]["scaled"] == [[0.1, 1e-7]]


def test_text_that_is_no_utf_8_comes_as_base64() -> None:
    import numpy as np

    from serving.model_server import json_responses

    values = np.array([b"a", b"\xff"], object)
    assert json_responses.columns({"text": values}) == {"outputs": ["a", {"b64": "/w=="}]}


def test_rows_of_unequal_outputs(connection: http.client.HTTPConnection) -> None:
    row = {"wide": [1.0, 2.0], "scale": 3}
    status, text = predict(connection, {"signature_name": "scaled", "instances": [row]})
    assert status == 400 and b"Shape of input scale: found [1]; expected ()" in text


def test_a_signature_without_inputs(connection: http.client.HTTPConnection) -> None:
    status, text = predict(connection, {"signature_name": "request_columns", "inputs": {}})
    assert status == 400 and b"Failed to get input map for signature: request_columns" in text


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "text"),
    [
        ("GET", "/", {}, 404, "Not found: /"),
        ("GET", "/v1/models", {}, 400, "Missing model name in request."),
        ("GET", "/v1/", {}, 400, "Malformed request: GET /v1/"),
        ("GET", "/v1/models/toy:predict", {}, 400, "Malformed request: GET /v1/models/toy:pred"),
        ("PUT", "/v1/models/toy", {}, 400, "Malformed request: PUT /v1/models/toy"),
        ("GET", "/v1/models/toy?a=1", {}, 404, "Could not find any versions of model toy?a=1"),
        (
            "POST",
            "/v1/models/toy:predict",
            {"Content-Length": "99999999999999"},
            413,
            "Content-Length: found 99999999999999; expected at most 1073741824",
        ),
        (
            "POST",
            "/v1/models/toy:predict",
            {"Content-Length": "-1"},
            400,
            "Content-Length: found '-1'; expected a number of bytes",
        ),
        (
            "POST",
            "/v1/models/toy:predict",
            {"Content-Length": "0", "Content-Encoding": "br"},
            415,
            "Content-Encoding: found br; expected gzip or none",
        ),
    ],
)
def test_refusals(
    connection: Any, method: str, path: str, headers: Any, status: int, text: str
) -> None:
    found, answer = ask(connection, method, path, None, **headers)
    assert found == status
    assert json.loads(answer)["error"].startswith(text)


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"instances": ' + "[" * 5000 + "]" * 5000 + "}", '{"a": 1' + "0" * 5000 + "}"],
    ids=["deep", "deep and closed", "a long number"],
)
def test_json_that_would_break_a_parser(connection: Any, body: str) -> None:
    status, text = ask(connection, "POST", "/v1/models/toy:predict", body)
    assert status == 400 and b"JSON" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("[" * 33 + "]" * 33, "Encountered lists nested 33 deep; expected at most 32"),
        ("1e400", "JSON Parse error: Number too big to be stored in double: 1e400"),
        ("9" * 400, "JSON Parse error: Number too big to be stored in double: 999"),
        ('"\\ud800"', "JSON Parse error: The surrogate pair in string is invalid."),
    ],
    ids=["33 deep", "1e400", "400 digits", "half a character"],
)
@pytest.mark.parametrize("method", ["predict", "classify", "regress"])
def test_json_that_no_tensor_can_hold(connection: Any, value: str, text: str, method: str) -> None:
    body = (
        f'{{"signature_name": "scaled", "inputs": {{"wide": {value}, "scale": 1}}, "examples": []}}'
    )
    status, answer = ask(connection, "POST", f"/v1/models/toy:{method}", body)
    assert status == 400
    if method == "predict" or "Parse" in text:
        assert text in json.loads(answer)["error"]
    if "Parse" in text:
        body = body.replace("scaled", "a\\ud800")
        assert ask(connection, "POST", f"/v1/models/toy:{method}", body)[0] == 400


def test_rows_are_at_most_31_deep(connection: Any) -> None:
    body = {"signature_name": "scaled", "instances": [{"wide": deep(32), "scale": 1}]}
    status, text = predict(connection, body)
    assert status == 400 and b"lists nested 32 deep; expected at most 31" in text
    body["instances"] = [{"wide": deep(31), "scale": 1}]
    status, text = predict(connection, body)
    assert status == 400 and b"Shape of input" in text


def deep(levels: int) -> Any:
    value: Any = 1.0
    for _ in range(levels):
        value = [value]
    return value


def test_what_a_float_cannot_hold_is_infinite(connection: Any) -> None:
    body = {"signature_name": "scaled", "inputs": {"wide": [[1e39, -(10**39)]], "scale": 1}}
    found = json.loads(predict(connection, body)[1])["outputs"]["scaled"]
    assert found == [[float("inf"), float("-inf")]]


def test_what_is_quoted_is_cut(connection: Any) -> None:
    body = {"signature_name": "scaled", "inputs": {"wide": [["x" * 5000, 1]], "scale": 1}}
    text = json.loads(predict(connection, body)[1])["error"]
    assert text == ('JSON Value: "' + "x" * 255 + "... Type: String is not of expected type: float")


@pytest.mark.parametrize("name", ["__saved_model_init_op", "__saved_model_train_op"])
def test_what_loading_runs_is_no_signature(server: Any, connection: Any, name: str) -> None:
    for method in ("predict", "classify", "regress"):
        body = json.dumps({"signature_name": name, "inputs": [1], "examples": [{}]})
        status, text = ask(connection, "POST", f"/v1/models/toy:{method}", body)
        assert status == 400 and name.encode() in text
    with Client(server.address) as client, pytest.raises(PredictError) as caught:
        client.call("toy", name, {})
    assert caught.value.code.name == "FAILED_PRECONDITION"
    assert f'Serving signature key "{name}" not found.' in str(caught.value)


def test_the_page_of_metrics_takes_no_query(connection: Any) -> None:
    path = "/monitoring/prometheus/metrics"
    status, text = ask(connection, "GET", f"{path}?a=1")
    assert (status, text.decode()) == (400, f"Unexpected path: {path}?a=1. Should be {path}")


def test_what_is_no_http(server: ModelServer, connection: Any) -> None:
    assert server.rest_address is not None
    host, port = server.rest_address.split(":")
    for noise in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=30) as plain:
            plain.sendall(noise)
            plain.recv(1000)
    assert predict(connection, SCALED)[0] == 200


def test_a_body_that_breaks_off(server: ModelServer, connection: Any) -> None:
    assert server.rest_address is not None
    host, port = server.rest_address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        head = "POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{"
        plain.sendall(head.encode())
    assert predict(connection, SCALED)[0] == 200


def test_metrics(server: ModelServer, connection: Any) -> None:
    def counts() -> dict[str, float]:
        status, text = ask(connection, "GET", "/monitoring/prometheus/metrics")
        assert status == 200
        return {
            f"{sample.name} {sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }

    def of(name: str, **labels: str) -> str:
        return f":tensorflow:serving:{name} {sorted(labels.items())}"

    before = counts()
    predict(connection, SCALED)
    predict(connection, {})
    predict(connection, SCALED, "nobody1")
    predict(connection, SCALED, "nobody2")
    with Client(server.address) as client:
        client.predict("toy", [{"age": 1.0}])
        with pytest.raises(PredictError):
            client.call("toy", "rang", {})
    after = counts()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown[of("request_count", model_name="toy", status="OK")] == 3  # One for the columns.
    assert grown[of("request_count", model_name="toy", status="INVALID_ARGUMENT")] == 1
    assert grown[of("request_count", model_name="toy", status="FAILED_PRECONDITION")] == 1
    # Names that nobody has do not become labels.
    assert grown[of("request_count", model_name="", status="NOT_FOUND")] == 2
    latency = {"model_name": "toy", "API": "Predict"}
    assert grown[of("request_latency_count", entrypoint="REST", **latency)] == 1
    assert grown[of("request_latency_count", entrypoint="GRPC", **latency)] == 2
    assert grown[of("runtime_latency_count", runtime="TF1", **latency)] == 3
    assert any("load_attempt_count" in name and "success" in name for name in after)


def test_requests_under_way_are_answered_at_the_end(
    toys: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toys[0], tmp_path / "7")
    entered, leave = threading.Event(), threading.Event()
    run = Servable.run

    def slow(self: Servable, *arguments: Any) -> Any:
        entered.set()
        assert leave.wait(30)
        return run(self, *arguments)

    monkeypatch.setattr(Servable, "run", slow)
    answers: list[Any] = []
    with ModelServer(tmp_path, "toy", rest_port=0) as server:
        assert server.rest_address is not None
        connection = http.client.HTTPConnection(server.rest_address, timeout=30)
        asker = threading.Thread(target=lambda: answers.append(predict(connection, SCALED)))
        asker.start()
        assert entered.wait(30)
        threading.Timer(0.3, leave.set).start()
    asker.join()
    connection.close()
    assert answers[0][0] == 200


def test_a_port_that_is_taken(server: ModelServer, tmp_path: Path) -> None:
    assert server.rest_address is not None
    with pytest.raises(OSError, match=f"{server.rest_address}: found it taken"):
        with ModelServer(tmp_path, "toy", rest_port=int(server.rest_address.split(":")[1])):
            pass
