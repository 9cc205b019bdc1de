"""A local model server: a stand-in for TensorFlow Serving.

It answers TensorFlow Serving's gRPC calls `Predict`, `GetModelMetadata` and
`GetModelStatus`, and gRPC's health check, with TensorFlow Serving's protos, codes and
texts. It is for trying out and testing what was pushed; production points
tensorflow_model_server at the same folder.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, TypeVar

import grpc
import tensorflow as tf
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from serving.predict import predict
from serving.request_error import RequestError
from serving.servable import Servable
from serving.servable_manager import ServableManager
from serving.versions import SAVED_MODEL, latest

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"

_MESSAGE_LIMIT = 1024  # Characters of an error's text, as in TensorFlow Serving.
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_logger = logging.getLogger(__name__)

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class ModelServer:
    """Serves the newest version of one model: a stand-in for TensorFlow Serving.

    It listens and answers while its `with` block runs.

    Args:
      base_dir: Folder of the versions; it may still be empty.
      model_name: Name under which the model is served.
      host: Address to listen on.
      port: Port; 0 picks a free one.
      poll_seconds: How often to look for a new version.
      threads: Requests that are answered at once.

    Raises:
      ValueError: if `base_dir` is no folder of versions, or `poll_seconds` is not positive.
    """

    def __init__(
        self,
        base_dir: str | Path,
        model_name: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        poll_seconds: float = 1.0,
        threads: int = 16,
    ):
        _check_base_dir(Path(base_dir))
        if not poll_seconds > 0:
            raise ValueError(f"poll_seconds: found {poll_seconds}; expected more than 0")
        self._manager = ServableManager(model_name, str(base_dir))
        self._poll_seconds = poll_seconds
        self._host, self._wanted_port = host, port
        self._health = health.HealthServicer()
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._keep_polling, name="poll", daemon=True)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(threads, thread_name_prefix="answer"),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        add_PredictionServiceServicer_to_server(_PredictionService(self._manager), self._server)
        add_ModelServiceServicer_to_server(_ModelService(self._manager), self._server)
        add_HealthServicer_to_server(self._health, self._server)

    def __enter__(self) -> ModelServer:
        """Loads the newest version and starts to listen.

        Raises:
          OSError: if the port is taken.
        """
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self._wanted_port}")
        except RuntimeError as error:
            raise OSError(
                f"{self._host}:{self._wanted_port}: found it taken or not of this host; expected "
                "a free address"
            ) from error
        self.poll()
        self._server.start()
        self._poller.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Answers the requests under way, for at most five seconds, and stops."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(grace=5).wait()
        self._poller.join()
        self._manager.close()

    @property
    def address(self) -> str:
        """Where it listens, host:port."""
        return f"{self._host}:{self.port}"

    @property
    def version(self) -> int | None:
        """The version that answers; None while there is none."""
        return self._manager.version

    def poll(self) -> None:
        """Looks for a new version now."""
        self._manager.poll()
        ready = self.version is not None
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        for service in (health.OVERALL_HEALTH, PREDICTION_SERVICE):
            self._health.set(service, status)

    def _keep_polling(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:
                _logger.exception("Looking for a new version failed; the loaded one stays")


def serve(
    base_dir: str,
    model_name: str,
    host: str = "127.0.0.1",
    port: int = 8500,
    poll_seconds: float = 1.0,
) -> None:
    """Serves a model until SIGINT or SIGTERM comes; the command line's `serve`.

    Prints the address once it listens, and tells of every version on stderr. To be called in
    the main thread.

    Args:
      base_dir: Folder of the versions.
      model_name: Name under which the model is served.
      host: Address to listen on.
      port: Port; 0 picks a free one.
      poll_seconds: How often to look for a new version.

    Raises:
      ValueError: if `base_dir` is no folder of versions.
      OSError: if the port is taken.
    """
    stop = threading.Event()
    with (
        _events_on_stderr(),
        _on_signals(stop),
        ModelServer(
            base_dir, model_name, host=host, port=port, poll_seconds=poll_seconds
        ) as server,
    ):
        version = "no version yet" if server.version is None else f"version {server.version}"
        print(
            f"A local stand-in for TensorFlow Serving answers on {server.address}: "
            f"model {model_name}, {version}",
            flush=True,
        )
        stop.wait()


def _check_base_dir(base: Path) -> None:
    expected = "expected a folder of numbered versions"
    if not base.is_dir():
        raise ValueError(f"{base}: found no such folder; {expected}")
    if (base / SAVED_MODEL).is_file():
        raise ValueError(f"{base}: found a single version; {expected}. Give {base.parent}")
    if latest(base) is None:
        for inner in sorted(base.iterdir()):
            if inner.is_dir() and latest(inner) is not None:
                raise ValueError(f"{base}: found models; {expected}. Give one, such as {inner}")


@contextlib.contextmanager
def _on_signals(stop: threading.Event) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _events_on_stderr() -> Iterator[None]:
    logger = logging.getLogger("serving")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    tf.get_logger().setLevel(logging.ERROR)  # TensorFlow says of the Session loader that it is old.
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _answering(
    answer: Callable[[Any, _Request], _Response],
) -> Callable[[Any, _Request, grpc.ServicerContext], _Response]:
    """Turns what an answer raises into a status."""

    @functools.wraps(answer)
    def call(service: Any, request: _Request, context: grpc.ServicerContext) -> _Response:
        try:
            return answer(service, request)
        except RequestError as error:
            code, message = error.code, error.message
        except tf.errors.OpError as error:
            code, message = _STATUS[error.error_code], _op_message(error)
        except Exception as error:
            _logger.exception("A request failed")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        if len(message) > _MESSAGE_LIMIT:
            message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
        return context.abort(code, message)

    return call


def _op_message(error: tf.errors.OpError) -> str:
    """The op's own text, without what Python's Session puts before it."""
    preamble = r"Graph execution error:\n+(Detected at node .*?<stack traces unavailable>\n)?"
    return re.sub(rf"^{preamble}", "", error.message, count=1, flags=re.DOTALL)


@contextlib.contextmanager
def _use(manager: ServableManager, spec: ModelSpec) -> Iterator[tuple[int, Servable]]:
    """The version that a request names."""
    if not spec.name:
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    if spec.WhichOneof("version_choice") == "version_label":
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Unrecognized servable version label: {spec.version_label}",
        )
    version = spec.version.value if spec.HasField("version") else None
    if spec.name != manager.model_name:
        what = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
        raise RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {what}")
    with manager.use(version) as held:
        yield held


class _PredictionService(PredictionServiceServicer):
    def __init__(self, manager: ServableManager):
        self._manager = manager

    @_answering
    def Predict(self, request: PredictRequest) -> PredictResponse:  # noqa: N802 - the RPC's name
        with _use(self._manager, request.model_spec) as (version, servable):
            return predict(servable, version, request)

    @_answering
    def GetModelMetadata(  # noqa: N802 - the RPC's name
        self, request: GetModelMetadataRequest
    ) -> GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        if not request.metadata_field:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported"
                )
        response = GetModelMetadataResponse()
        with _use(self._manager, request.model_spec) as (version, servable):
            signatures = SignatureDefMap(signature_def=servable.signatures)
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response


class _ModelService(ModelServiceServicer):
    def __init__(self, manager: ServableManager):
        self._manager = manager

    @_answering
    def GetModelStatus(  # noqa: N802 - the RPC's name
        self, request: GetModelStatusRequest
    ) -> GetModelStatusResponse:
        spec = request.model_spec
        if not request.HasField("model_spec"):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        states = self._manager.states() if spec.name == self._manager.model_name else {}
        missing = f"Could not find any versions of model {spec.name}"
        if spec.HasField("version"):
            states = {v: state for v, state in states.items() if v == spec.version.value}
            missing = f"Could not find version {spec.version.value} of model {spec.name}"
        if not states:
            raise RequestError(grpc.StatusCode.NOT_FOUND, missing)
        response = GetModelStatusResponse()
        for version in sorted(states, reverse=True):
            state = states[version]
            entry = response.model_version_status.add(version=version, state=state.state)
            entry.status.error_code = state.error_code
            entry.status.error_message = state.error_message
        return response
