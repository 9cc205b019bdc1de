"""The server: its ports, and the threads behind them."""

from __future__ import annotations

import logging
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from tensorflow_serving.apis.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving import versions
from serving.model_server.answers import Answers
from serving.model_server.batching import Batcher, BatchingParameters
from serving.model_server.grpc_services import ModelService, PredictionService, RefuseUnreadable
from serving.model_server.http_server import HttpServer
from serving.model_server.metrics import Metrics
from serving.model_server.model_registry import ModelRegistry, single_model
from serving.model_server.request_error import RequestError
from serving.model_server.rest import RestApi, error_reply
from serving.model_server.tls import ServerTls

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"

_GRACE = 5.0  # Seconds for the requests under way when the server stops.
_logger = logging.getLogger(__name__)


class ModelServer:
    """Serves models over gRPC, and REST if it is asked to: a stand-in for TensorFlow Serving.

    It listens and answers while its `with` block runs.

    Args:
      models: Folder of the versions of a single model, of which the newest is served; it may still
        be empty. Or a list of models with their folders, version policies and labels.
      model_name: Name under which a single model is served.
      host: Address to listen on.
      port: Port for gRPC; 0 picks a free one.
      rest_port: Port for REST and metrics; 0 picks a free one, None is no REST.
      poll_seconds: How often to look for new versions.
      threads: Requests that are answered at once over gRPC, and as many over REST.
      batching: Merges concurrent requests; None runs each alone.
      tls: Encrypts gRPC; None does not.
      labels_of_unavailable: Whether a new label may name a version that is not loaded (yet).

    Raises:
      ValueError: if a folder is none of versions, the list of models is none that TensorFlow
        Serving takes, or `poll_seconds` is not positive.
    """

    def __init__(
        self,
        models: str | Path | ModelServerConfig,
        model_name: str = "default",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int | None = None,
        poll_seconds: float = 1.0,
        threads: int = 16,
        batching: BatchingParameters | None = None,
        tls: ServerTls | None = None,
        labels_of_unavailable: bool = False,
    ):
        if isinstance(models, ModelServerConfig):
            for entry in models.model_config_list.config:
                _check_base_dir(Path(entry.base_path))
        else:
            _check_base_dir(Path(models))
            models = single_model(model_name, Path(models))
        if not poll_seconds > 0:
            raise ValueError(f"poll_seconds: found {poll_seconds}; expected more than 0")
        self._metrics = Metrics()
        try:
            self._models = ModelRegistry(
                models, self._metrics, labels_of_unavailable=labels_of_unavailable
            )
        except RequestError as error:
            raise ValueError(error.message) from error
        self._batcher = None if batching is None else Batcher(batching, self._metrics)
        self._answers = Answers(self._models, self._metrics, self._batcher)
        self._poll_seconds = poll_seconds
        self._host, self._wanted_port, self._wanted_rest_port = host, port, rest_port
        self._tls = tls
        self._threads = threads
        self._rest: HttpServer | None = None
        self._health = health.HealthServicer()
        self._look_now = threading.Event()
        self._stopping = False
        self._poller = threading.Thread(target=self._keep_polling, name="poll", daemon=True)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(threads, thread_name_prefix="answer"),
            interceptors=[RefuseUnreadable()],
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        add_PredictionServiceServicer_to_server(PredictionService(self._answers), self._server)
        add_ModelServiceServicer_to_server(
            ModelService(self._answers, self._look_now.set), self._server
        )
        add_HealthServicer_to_server(self._health, self._server)

    def __enter__(self) -> ModelServer:
        """Loads what is to be served and starts to listen.

        Raises:
          OSError: if a port is taken.
        """
        try:
            self._listen()
            self.poll()
        except BaseException:
            if self._rest is not None:
                self._rest.stop(0)
            self._close()
            raise
        if self._batcher is not None:
            self._batcher.start()
        self._server.start()
        if self._rest is not None:
            self._rest.start()
        self._poller.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Answers the requests under way, for at most five seconds, and stops."""
        self._stopping = True
        self._look_now.set()
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(grace=_GRACE)
        if self._rest is not None:
            self._rest.stop(_GRACE)
        stopped.wait()
        self._poller.join()
        self._close()

    @property
    def address(self) -> str:
        """Where it listens for gRPC, host:port."""
        return f"{self._host}:{self.port}"

    @property
    def rest_address(self) -> str | None:
        """Where it listens for REST, host:port; None if it does not."""
        return None if self._rest is None else f"{self._host}:{self._rest.port}"

    @property
    def models(self) -> list[str]:
        """Names of the models that are served."""
        return self._models.names()

    @property
    def version(self) -> int | None:
        """The newest version that answers, of the first model; None while there is none."""
        return max((v for name in self.models[:1] for v in self.versions(name)), default=None)

    def versions(self, model: str) -> list[int]:
        """The versions of a model that answer, ascending."""
        return self._models.versions(model)

    def poll(self) -> None:
        """Looks for new versions now."""
        self._models.poll()
        ready = all(map(self._models.versions, self._models.names()))
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        for service in (health.OVERALL_HEALTH, PREDICTION_SERVICE):
            self._health.set(service, status)

    def reload(self, config: ModelServerConfig) -> None:
        """Serves another list of models, as HandleReloadConfigRequest does.

        Raises:
          ValueError: if it is none that TensorFlow Serving takes, or if a new model has no version
            that loads.
        """
        try:
            self._models.reload(config)
        except RequestError as error:
            raise ValueError(error.message) from error
        finally:
            self._look_now.set()

    def _listen(self) -> None:
        address = f"{self._host}:{self._wanted_port}"
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise _taken(address) from error
        if self._wanted_rest_port is not None:
            try:
                self._rest = HttpServer(
                    RestApi(self._answers, self._metrics).answer,
                    error_reply,
                    self._host,
                    self._wanted_rest_port,
                    self._threads,
                )
            except OSError as error:
                raise _taken(f"{self._host}:{self._wanted_rest_port}") from error

    def _close(self) -> None:
        self._server.stop(None).wait()
        if self._batcher is not None:
            self._batcher.close()
        self._models.close()

    def _keep_polling(self) -> None:
        while True:
            self._look_now.wait(self._poll_seconds)
            self._look_now.clear()
            if self._stopping:
                return
            try:
                self.poll()
            except Exception:
                _logger.exception("Looking for new versions failed; the loaded ones stay")


def _taken(address: str) -> OSError:
    return OSError(f"{address}: found it taken or not of this host; expected a free address")


def _check_base_dir(base: Path) -> None:
    expected = "expected a folder of numbered versions"
    if not base.is_dir():
        raise ValueError(f"{base}: found no such folder; {expected}")
    if (base / versions.SAVED_MODEL).is_file():
        raise ValueError(f"{base}: found a single version; {expected}. Give {base.parent}")
    if not versions.numbers(base):
        for inner in sorted(base.iterdir()):
            if inner.is_dir() and versions.numbers(inner):
                raise ValueError(f"{base}: found models; {expected}. Give one, such as {inner}")
