"""Asks a model server, ours or TensorFlow Serving, for predictions.

Starts without TensorFlow.
"""

from __future__ import annotations

import contextlib
import numbers
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import numpy as np

from serving.protos import Example, PredictRequest, PredictResponse

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_DT_FLOAT, _DT_STRING = 1, 7
_LONGEST_BACKOFF = 2.0
_MISSING = b"\xff"
"""Stands for a text that a behaviour lacks, as in the examples that models train on."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class PredictError(Exception):
    """A prediction that the server refused or did not give in time.

    Args:
      address: The server.
      code: The status that it answered, or that gRPC gave for it.
      details: Its text.
    """

    def __init__(self, address: str, code: grpc.StatusCode, details: str):
        super().__init__(f"{address}: {code.name}: {details}")
        self.address = address
        self.code = code
        self.details = details


class Columns(NamedTuple):
    """What a model takes in a request.

    Args:
      text: Columns of text.
      numeric: Columns of numbers.
      histories: Those among them with a value for each of the user's last behaviours.
    """

    text: tuple[str, ...]
    numeric: tuple[str, ...]
    histories: tuple[str, ...] = ()


class Client:
    """A connection to a model server, kept open; threads may share it.

    Args:
      address: host:port.
      timeout: Seconds a call may take, retries included.
      retries: Further attempts while the server is unavailable; nothing else is tried again.
      backoff: Seconds before the first retry; each further one waits about twice as long.

    Example:
      with Client("127.0.0.1:8500") as client:
          scores = client.predict("simulated", [{"user_id": 7, "item_id": "42", "tab": "feed"}])
          scores["click"]  # float32 [1]
    """

    def __init__(
        self, address: str, *, timeout: float = 5.0, retries: int = 4, backoff: float = 0.1
    ):
        if not timeout > 0:
            raise ValueError(f"timeout: found {timeout}; expected more than 0 seconds")
        self.address = address
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._columns: dict[str, tuple[int, Columns]] = {}
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # gRPC's own pause after a failed connection would outlast our retries.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._call = self._channel.unary_unary(
            _PREDICT,
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def columns(self, model: str) -> Columns:
        """What a model takes in a request, asked of the server once.

        Raises:
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._known_columns(model, time.monotonic() + self._timeout)[1]

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Scores rows.

        Args:
          model: The model's name.
          rows: B rows of raw columns. A text column takes str, bytes or an integer, a numeric one
            any number; None, or leaving the column out, means missing. A column of a history takes
            a list of such values, oldest first; all those of a row are equally long.

        Returns:
          Each task's probability, float32 [B].

        Raises:
          ValueError: if a row holds a column that the model does not take, or a value that the
            column does not.
          PredictError: if the server refuses, or does not answer in time.
        """
        deadline = time.monotonic() + self._timeout
        try:
            version, columns = self._known_columns(model, deadline)
            request = PredictRequest()
            request.model_spec.name = model
            entry = request.inputs.add(key="examples")
            entry.value.dtype = _DT_STRING
            entry.value.tensor_shape.dim.add(size=len(rows))
            entry.value.string_val.extend(
                _example(f"row {i}", row, columns) for i, row in enumerate(rows, 1)
            )
            response = self._send(request, deadline)
        except PredictError:
            self._columns.pop(model, None)
            raise
        if response.model_spec.version.value != version:
            # A newer version answers: its columns may be others.
            self._columns.pop(model, None)
        outputs = sorted(response.outputs, key=lambda entry: entry.key)
        return {entry.key: _floats(entry.key, entry.value) for entry in outputs}

    def _known_columns(self, model: str, deadline: float) -> tuple[int, Columns]:
        if model not in self._columns:
            self._columns[model] = self._fetch_columns(model, deadline)
        return self._columns[model]

    def _fetch_columns(self, model: str, deadline: float) -> tuple[int, Columns]:
        request = PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = "request_columns"
        response = self._send(request, deadline)
        names = {e.key: tuple(n.decode() for n in e.value.string_val) for e in response.outputs}
        columns = Columns(names["text"], names["numeric"], names.get("histories", ()))
        return response.model_spec.version.value, columns

    def _send(self, request: Any, deadline: float) -> Any:
        for attempt in range(self._retries + 1):
            try:
                return self._call(request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failed = PredictError(self.address, error.code(), error.details())
            # Half to one and a half times as long, so that clients do not come back at once.
            pause = min(self._backoff * 2**attempt, _LONGEST_BACKOFF) * (0.5 + random.random())
            may_retry = failed.code is grpc.StatusCode.UNAVAILABLE
            if not may_retry or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        raise failed


def _example(where: str, row: Mapping[str, Any], columns: Columns) -> bytes:
    """A serialized tf.Example as the model was trained on."""
    example = Example()
    for name, value in row.items():
        if name not in columns.text and name not in columns.numeric:
            known = ", ".join([*columns.text, *columns.numeric])
            raise ValueError(f"{where}: found the column {name}; expected columns among {known}")
        if value is None:
            continue
        entry = example.features.feature.add(key=name)
        values = [value]
        if name in columns.histories:
            if not isinstance(value, (list, tuple)):
                raise ValueError(f"{where}, {name}: found {value!r}; expected a list, oldest first")
            values = [_MISSING if v is None and name in columns.text else v for v in value]
        if name in columns.text:
            entry.value.bytes_list.value.extend(_text(f"{where}, {name}", v) for v in values)
        else:
            entry.value.float_list.value.extend(_number(f"{where}, {name}", v) for v in values)
    return example.SerializeToString()


def _text(where: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if _is(numbers.Integral, value):
        return str(int(value)).encode()
    if isinstance(value, str):
        with contextlib.suppress(UnicodeEncodeError):
            return value.encode()
    raise ValueError(f"{where}: found {value!r}; expected text or an integer, or None if missing")


def _number(where: str, value: Any) -> float:
    # A NaN is not less than anything.
    if _is(numbers.Real, value) and abs(value) <= _FLOAT32_MAX:
        return float(value)
    raise ValueError(f"{where}: found {value!r}; expected a finite float32, or None if missing")


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _floats(name: str, tensor: Any) -> np.ndarray:
    if tensor.dtype != _DT_FLOAT:
        raise ValueError(f"output {name}: found DataType {tensor.dtype}; expected {_DT_FLOAT}")
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, np.float32)
    else:
        values = np.array(tensor.float_val, np.float32)
    return values.reshape([dim.size for dim in tensor.tensor_shape.dim])
