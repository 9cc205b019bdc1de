"""TensorFlow Serving's REST API, and the metrics page."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import grpc
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.model_server import json_requests, json_responses
from serving.model_server.answers import Answers
from serving.model_server.http_server import Reply, Request
from serving.model_server.metrics import Metrics
from serving.model_server.predict import run_signature
from serving.model_server.refusal import log_fault, refusal
from serving.model_server.request_error import invalid
from serving.signatures import SERVING_DEFAULT

METRICS_PATH = "/monitoring/prometheus/metrics"

_JSON = "application/json"

# TensorFlow Serving's own, which it matches with the query as part of the path.
_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_RUN = re.compile(
    rf"(?i)/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.ASCII
)
_TELL = re.compile(
    rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<resource>metadata))?", re.ASCII
)
_LONGEST_UNPACKED_BODY = 100 << 20

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


class RestApi:
    """Answers HTTP requests.

    Args:
      answers: Answers the calls.
      metrics: What the metrics page shows.
    """

    def __init__(self, answers: Answers, metrics: Metrics):
        self._answers = answers
        self._metrics = metrics

    def answer(self, request: Request) -> Reply:
        """Answers a request; what it cannot answer becomes a status and a text."""
        path = request.target.partition("?")[0]
        if path == METRICS_PATH:
            return self._metrics_page(request)
        if not path.lower().startswith("/v1/"):
            return error_reply(HTTPStatus.NOT_FOUND, f"Not found: {path}")
        encoding = request.encoding.lower()
        if encoding not in ("", "identity") and "gzip" not in encoding:
            return error_reply(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding: found {request.encoding}; expected gzip or none",
            )
        try:
            body = _unpacked(request.body) if "gzip" in encoding else request.body
            found = self._route(request.method, request.target, body)
            return Reply(HTTPStatus.OK, _JSON, json_responses.dump(found))
        except Exception as error:
            code, message = refusal(error)
            log_fault(code, error)
            return error_reply(_HTTP_STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR), message)

    def _metrics_page(self, request: Request) -> Reply:
        if request.target != METRICS_PATH:
            text = f"Unexpected path: {request.target}. Should be {METRICS_PATH}"
            return Reply(HTTPStatus.BAD_REQUEST, "text/plain", text.encode())
        return Reply(HTTPStatus.OK, "text/plain", self._metrics.page())

    def _route(self, method: str, target: str, body: bytes) -> dict[str, Any]:
        # The last part is matched in any case, and then compared as it is, as there.
        found = _RUN.fullmatch(target) if method == "POST" else None
        if found:
            run: dict[str, Callable[[ModelSpec, bytes], dict[str, Any]]] = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }
            spec = _spec(found)
            if found["method"] in run:
                return run[found["method"]](spec, body)
        found = _TELL.fullmatch(target) if method == "GET" else None
        if found:
            spec = _spec(found)
            if not spec.name:
                raise invalid("Missing model name in request.")
            if found["resource"] == "metadata":
                request = GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
                return json_responses.metadata(self._answers.metadata(request))
            return json_responses.status(
                self._answers.status(GetModelStatusRequest(model_spec=spec))
            )
        raise invalid(f"Malformed request: {method} {target}")

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


def error_reply(status: int, message: str) -> Reply:
    """What says that a request was not answered, and why."""
    return Reply(status, _JSON, json_responses.dump({"error": message}))


def _unpacked(body: bytes) -> bytes:
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = reader.decompress(body, _LONGEST_UNPACKED_BODY)
    except zlib.error as error:
        raise invalid(f"Content-Encoding: found no gzip: {error}") from error
    if reader.unconsumed_tail:
        raise invalid(f"The body: found more than {_LONGEST_UNPACKED_BODY} bytes when unpacked")
    if not reader.eof or reader.unused_data:
        raise invalid("Content-Encoding: found gzip that is cut off, or more behind it")
    return unpacked


def _spec(found: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(found["name"] or ""))
    if found["version"]:
        digits = found["version"].lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= 2**63:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = int(digits)
    if found["label"]:
        spec.version_label = unquote(found["label"])
    return spec
