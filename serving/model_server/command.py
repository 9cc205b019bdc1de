"""`equipoise serve`: a server from files, until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import tensorflow as tf
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.model_server.configs import (
    read_batching_parameters,
    read_model_config,
    read_tls,
)
from serving.model_server.server import ModelServer

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


def serve(
    base_dir: str | None = None,
    model_name: str = "default",
    *,
    model_config_file: str | None = None,
    config_poll_seconds: float = 0.0,
    labels_of_unavailable: bool = False,
    host: str = "127.0.0.1",
    port: int = 8500,
    rest_port: int | None = None,
    poll_seconds: float = 1.0,
    batching_parameters_file: str | None = None,
    ssl_config_file: str | None = None,
) -> None:
    """Serves models until SIGINT or SIGTERM comes; the command line's `serve`.

    Prints the addresses once it listens, and tells of every version on stderr. To be called in
    the main thread.

    Args:
      base_dir: Folder of the versions of a single model.
      model_name: Name under which it is served.
      model_config_file: A ModelServerConfig in text format, instead of a single model.
      config_poll_seconds: How often to read that file again; 0 is never.
      labels_of_unavailable: Whether a new label may name a version that is not loaded (yet).
      host: Address to listen on.
      port: Port for gRPC; 0 picks a free one.
      rest_port: Port for REST and metrics; 0 picks a free one, None is no REST.
      poll_seconds: How often to look for new versions.
      batching_parameters_file: BatchingParameters in text format; requests are then merged.
      ssl_config_file: An SSLConfig in text format; gRPC is then encrypted.

    Raises:
      ValueError: if there is neither a folder nor a config file, or both, or if one is not what it
        should be.
      OSError: if a port is taken, or a file cannot be read.
    """
    models: str | ModelServerConfig
    if base_dir is not None and model_config_file is None:
        models = base_dir
    elif base_dir is None and model_config_file is not None:
        models = read_model_config(model_config_file)
    else:
        raise ValueError("expected either a folder of versions or a model config file")
    stop = threading.Event()
    with (
        _events_on_stderr(),
        _on_signals(stop),
        ModelServer(
            models,
            model_name,
            host=host,
            port=port,
            rest_port=rest_port,
            poll_seconds=poll_seconds,
            batching=_read(read_batching_parameters, batching_parameters_file),
            tls=_read(read_tls, ssl_config_file),
            labels_of_unavailable=labels_of_unavailable,
        ) as server,
    ):
        print(_greeting(server), flush=True)
        if model_config_file is None or not config_poll_seconds:
            stop.wait()
            return
        read = Path(model_config_file).read_bytes()
        while not stop.wait(config_poll_seconds):
            read = _reload_if_changed(server, model_config_file, read)


def _reload_if_changed(server: ModelServer, path: str, before: bytes) -> bytes:
    try:
        now = Path(path).read_bytes()
        if now != before:
            server.reload(read_model_config(path))
            _logger.info("%s has changed and is in use", path)
        return now
    except (OSError, ValueError) as error:
        _logger.error("%s is not in use: %s", path, error)
        return before


def _greeting(server: ModelServer) -> str:
    rest = "" if server.rest_address is None else f", for REST on {server.rest_address}"
    models = []
    for name in server.models:
        found = ", ".join(map(str, server.versions(name)))
        plural = "s" if "," in found else ""
        models.append(
            f"model {name}, " + (f"version{plural} {found}" if found else "no version yet")
        )
    return (
        f"A local stand-in for TensorFlow Serving answers on {server.address}{rest}: "
        + "; ".join(models)
    )


def _read(reader: Callable[[str], _T], path: str | None) -> _T | None:
    return None if path is None else reader(path)


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
