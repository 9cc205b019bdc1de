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
        ("PUT", "/v1/models/toy", {}, 501, "Unsupported method ('PUT')"),
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
            411,
            "Content-Length: exp",
        ),
        (
            "POST",
            "/v1/models/toy:predict",
            {"Content-Length": "2", "Content-Encoding": "gzip"},
            415,
            "Content-Encoding: expected a plain body",
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
