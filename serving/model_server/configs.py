"""Reads the files that tensorflow_model_server is configured with: protobuf text each.

`ModelServerConfig` is the official message. The other two are not in the
tensorflow-serving-api package; their fields are built here by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.model_server.batching import BatchingParameters
from serving.model_server.tls import ServerTls
from serving.proto_messages import message_classes

_CLASSES = message_classes(
    "equipoise.model_server",
    {
        "SSLConfig": {
            "server_key": (1, "string"),
            "server_cert": (2, "string"),
            "custom_ca": (3, "string"),
            "client_verify": (4, "bool"),
        },
        "Int64Value": {"value": (1, "int64")},
        "StringValue": {"value": (1, "string")},
        "BatchingParameters": {
            "max_batch_size": (1, "Int64Value"),
            "batch_timeout_micros": (2, "Int64Value"),
            "max_enqueued_batches": (3, "Int64Value"),
            "num_batch_threads": (4, "Int64Value"),
            "thread_pool_name": (5, "StringValue"),
            "allowed_batch_sizes": (6, "int64*"),
        },
    },
)


def read_model_config(path: str | Path) -> ModelServerConfig:
    """Reads a ModelServerConfig, as for tensorflow_model_server's `--model_config_file`.

    Raises:
      ValueError: if the file is none.
      OSError: if it cannot be read.
    """
    return _read(path, ModelServerConfig())


def read_batching_parameters(path: str | Path) -> BatchingParameters:
    """Reads BatchingParameters, as for tensorflow_model_server's `--batching_parameters_file`.

    Raises:
      ValueError: if the file is none, or a value is out of its range.
      OSError: if it cannot be read.
    """
    message = _read(path, _CLASSES["BatchingParameters"]())
    given = {
        name: getattr(message, name).value
        for name in (
            "max_batch_size",
            "batch_timeout_micros",
            "max_enqueued_batches",
            "num_batch_threads",
        )
        if message.HasField(name)
    }
    try:
        return BatchingParameters(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_tls(path: str | Path) -> ServerTls:
    """Reads an SSLConfig, as for tensorflow_model_server's `--ssl_config_file`.

    Raises:
      ValueError: if the file is none, or lacks what a server needs.
      OSError: if it cannot be read.
    """
    message = _read(path, _CLASSES["SSLConfig"](), secret=True)
    try:
        return ServerTls(
            key=message.server_key.encode(),
            certificate=message.server_cert.encode(),
            client_ca=message.custom_ca.encode() or None,
            verify_client=message.client_verify,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: str | Path, message: Any, *, secret: bool = False) -> Any:
    name = message.DESCRIPTOR.name
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        if not secret:
            raise ValueError(f"{path}: found {error}; expected a {name} in text format") from error
        where = ""
        if isinstance(error, text_format.ParseError):
            where = f" in line {error.GetLine()}, column {error.GetColumn()}"
    # The error quotes the file, and its traceback would, too.
    raise ValueError(f"{path}: found a mistake{where}; expected a {name} in text format")
