"""TensorFlow Serving's REST API, and the metrics page."""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import grpc
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.model_server import json_requests, json_responses
from serving.model_server.answers import Answers
from serving.model_server.metrics import Metrics
from serving.model_server.predict import run_signature
from serving.model_server.refusal import refusal
from serving.model_server.request_error import RequestError, invalid
from serving.signatures import SERVING_DEFAULT

METRICS_PATH = "/monitoring/prometheus/metrics"

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_RUN = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)")
_TELL = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}(?P<metadata>/metadata)?")
_LONGEST_BODY = 1 << 30
_CHUNK = 1 << 20
_IDLE_SECONDS = 60.0

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}

_logger = logging.getLogger(__name__)


class RestServer:
    """Listens for HTTP while it runs; a thread a connection.

    Args:
      answers: Answers the calls.
      metrics: What the metrics page shows.
      host: Address to listen on.
      port: Port; 0 picks a free one.

    Raises:
      OSError: if the port is taken.
    """

    def __init__(self, answers: Answers, metrics: Metrics, host: str, port: int):
        self._routes = _Routes(answers, metrics)

        class Handler(_Handler):
            routes = self._routes

        self._server = _HttpServer((host, port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="rest", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Answers the requests under way, for at most so many seconds, and ends."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._routes.finish(grace)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[_Handler]):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not HTTPServer's own, which asks a name server what the host is called.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        _logger.info("A connection from %s broke off", client_address)


class _Routes:
    """Requests to answers: an HTTP status and an object for JSON."""

    def __init__(self, answers: Answers, metrics: Metrics):
        self._answers = answers
        self.metrics = metrics
        self._under_way = 0
        self._finishing = False
        self._changed = threading.Condition()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._changed:
            if self._finishing:
                return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "The server is stopping"}
            self._under_way += 1
        try:
            return self._answer(method, path, body)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def finish(self, grace: float) -> None:
        with self._changed:
            self._finishing = True
            self._changed.wait_for(lambda: not self._under_way, grace)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            return HTTPStatus.OK, self._route(method, path, body)
        except Exception as error:
            if not isinstance(error, (RequestError, tf.errors.OpError)):
                _logger.exception("A request failed")
            code, message = refusal(error)
            status = _HTTP_STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
            return status, {"error": message}

    def _route(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        if method == "POST" and (found := _RUN.fullmatch(path)):
            spec = _spec(found)
            run: Callable[[ModelSpec, bytes], dict[str, Any]] = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }[found["method"]]
            return run(spec, body)
        if method == "GET" and (found := _TELL.fullmatch(path)):
            spec = _spec(found)
            if found["metadata"]:
                request = GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
                return json_responses.metadata(self._answers.metadata(request))
            return json_responses.status(
                self._answers.status(GetModelStatusRequest(model_spec=spec))
            )
        if method == "GET" and path == "/v1/models":
            raise invalid("Missing model name in request.")
        raise invalid(f"Malformed request: {method} {path}")

    def _predict(self, spec: ModelSpec, body: bytes) -> dict[str, Any]:
        with self._answers.running(spec, "Predict", "REST") as (_, servable, run):
            request = json_requests.parse(body)
            name = json_requests.signature_name(request) or SERVING_DEFAULT
            if name not in servable.signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            signature = servable.signatures[name]
            if not signature.inputs:
                raise invalid(f"Failed to get input map for signature: {name}")
            inputs, as_rows = json_requests.predict_inputs(request, dict(signature.inputs))
            outputs = run_signature(servable, signature, inputs, [], run)
            return json_responses.rows(outputs) if as_rows else json_responses.columns(outputs)

    def _classify(self, spec: ModelSpec, body: bytes) -> dict[str, Any]:
        request = ClassificationRequest(model_spec=spec)
        parsed = json_requests.parse(body)
        request.model_spec.signature_name = json_requests.signature_name(parsed)
        request.input.CopyFrom(json_requests.example_input(parsed))
        return json_responses.classes(self._answers.classify(request, "REST").result)

    def _regress(self, spec: ModelSpec, body: bytes) -> dict[str, Any]:
        request = RegressionRequest(model_spec=spec)
        parsed = json_requests.parse(body)
        request.model_spec.signature_name = json_requests.signature_name(parsed)
        request.input.CopyFrom(json_requests.example_input(parsed))
        return json_responses.numbers(self._answers.regress(request, "REST").result)


class _Handler(BaseHTTPRequestHandler):
    routes: _Routes
    protocol_version = "HTTP/1.1"
    server_version = "equipoise"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1  # Headers and body in one packet.

    def do_GET(self) -> None:  # noqa: N802
        path = self.path.partition("?")[0]
        if path == METRICS_PATH:
            self._send(HTTPStatus.OK, "text/plain", self.routes.metrics.page())
            return
        self._answer("GET", path, b"")

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        if body is not None:
            self._answer("POST", self.path.partition("?")[0], body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if not path.startswith("/v1/"):
            self._refuse(HTTPStatus.NOT_FOUND, f"Not found: {path}")
            return
        status, answer = self.routes.answer(method, path, body)
        self._send(status, "application/json", json_responses.dump(answer))

    def _body(self) -> bytes | None:
        """The request's body; None if it was refused, and the connection ends."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "Content-Length: expected a number of bytes")
        elif len(length) > 18 or int(length) > _LONGEST_BODY:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"Content-Length: found {length[:20]}; expected at most {_LONGEST_BODY}",
            )
        elif self.headers.get("Content-Encoding", "identity") != "identity":
            self._refuse(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: expected a plain body"
            )
        else:
            # In pieces: what is claimed and does not come costs no memory.
            pieces, missing = [], int(length)
            while missing and (piece := self.rfile.read(min(missing, _CHUNK))):
                pieces.append(piece)
                missing -= len(piece)
            if not missing:
                return b"".join(pieces)
            self.close_connection = True
        return None

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._send(status, "application/json", json_responses.dump({"error": message}))

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._refuse(code, message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing of each request."""


def _spec(found: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(found["name"]))
    if found["version"]:
        if int(found["version"]) >= 2**63:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = int(found["version"])
    if found["label"]:
        spec.version_label = unquote(found["label"])
    return spec
