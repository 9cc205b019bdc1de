"""What a client asks a model server and how it reads the answers, without a connection.

Each method is a generator: it yields a call, is sent the answer or thrown the error, and returns
the result. So the client that blocks and the one that awaits share all of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import grpc
import numpy as np

from serving.client_examples import Columns, serialized_example
from serving.client_ranking import ranking_inputs
from serving.client_tensors import read_tensor, type_name, write_tensor
from serving.protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # gRPC's own pause after a failed connection would outlast our retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_LONGEST_BACKOFF = 2.0

T = TypeVar("T")


class PredictError(Exception):
    """A call that the server refused or did not answer in time.

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


class TensorSpec(NamedTuple):
    """An input or output of a signature.

    Args:
      dtype: Its type: that of its array, such as "float32", or "text".
      shape: Its sizes, None for one that may vary; None where even their number may.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """What a signature of a model takes and gives, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """Where a version of a model stands.

    Args:
      version: Its number.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error: Why it does not load; "" if nothing is wrong.
    """

    version: int
    state: str
    error: str


class Target(NamedTuple):
    """The model that is asked, at a version or label if there is one, else its newest."""

    model: str
    version: int | None
    label: str | None

    def fill(self, spec: Any) -> None:
        """Writes it into a ModelSpec.

        Raises:
          ValueError: if there are both a version and a label.
        """
        if self.version is not None and self.label is not None:
            raise ValueError(
                f"version and label: found {self.version} and {self.label!r}; expected at most one"
            )
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label


@dataclass(frozen=True)
class Call:
    """One request on its way.

    Args:
      method: The gRPC method.
      request: Its message.
      response: Class of the answer.
    """

    method: str
    request: Any
    response: Any


Steps = Generator[Call, Any, T]


@dataclass(frozen=True)
class Retries:
    """When a call is tried again: only where the server is unavailable.

    Args:
      count: Further attempts.
      backoff: Seconds before the first; each further one waits about twice as long.
    """

    count: int
    backoff: float

    def pause(self, error: PredictError, attempt: int, deadline: float) -> float | None:
        """Seconds to wait before the next attempt; None if there is none.

        Args:
          error: What the last attempt ended with.
          attempt: Its number, from 0.
          deadline: The end of all attempts, on time.monotonic's clock.
        """
        # Half to one and a half times as long, so that clients do not come back at once.
        pause = min(self.backoff * 2**attempt, _LONGEST_BACKOFF) * (0.5 + random.random())
        may_retry = error.code is grpc.StatusCode.UNAVAILABLE and attempt < self.count
        return pause if may_retry and time.monotonic() + pause < deadline else None


class Calls:
    """The calls of one client; knows the columns of the models that it has asked."""

    def __init__(self) -> None:
        self._columns: dict[Target, tuple[int, Columns]] = {}

    def columns(self, target: Target) -> Steps[Columns]:
        """What a model takes in a request; asked once."""
        return (yield from self._known_columns(target))[1]

    def predict(
        self, target: Target, rows: Sequence[Mapping[str, Any]]
    ) -> Steps[dict[str, np.ndarray]]:
        """Scores rows of raw columns."""

        def inputs(columns: Columns) -> dict[str, np.ndarray]:
            examples = [
                serialized_example(f"row {i}", row, columns) for i, row in enumerate(rows, 1)
            ]
            return {"examples": np.array(examples, object)}

        return (yield from self._run_on_columns(target, "", inputs))

    def rank(
        self, target: Target, user: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> Steps[dict[str, np.ndarray]]:
        """Scores candidates for one user."""
        return (
            yield from self._run_on_columns(
                target, "rank", lambda columns: ranking_inputs(user, items, columns)
            )
        )

    def _run_on_columns(
        self, target: Target, signature: str, inputs: Callable[[Columns], dict[str, np.ndarray]]
    ) -> Steps[dict[str, np.ndarray]]:
        try:
            version, columns = yield from self._known_columns(target)
            answered, outputs = yield from _run(target, signature, inputs(columns), ())
        except PredictError:
            self._columns.pop(target, None)
            raise
        if answered != version:
            # A newer version answers: its columns may be others.
            self._columns.pop(target, None)
        return outputs

    def call(
        self,
        target: Target,
        signature: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
    ) -> Steps[dict[str, np.ndarray]]:
        """Runs a signature on arrays."""
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return (yield from _run(target, signature, arrays, outputs))[1]

    def signatures(self, target: Target) -> Steps[dict[str, Signature]]:
        """A model's signatures."""
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        target.fill(request.model_spec)
        response = yield Call(f"{_PREDICTION}GetModelMetadata", request, GetModelMetadataResponse)
        found = SignatureDefMap()
        for entry in response.metadata:
            if entry.key == "signature_def":
                found.ParseFromString(entry.value.value)
        return {
            entry.key: Signature(_specs(entry.value.inputs), _specs(entry.value.outputs))
            for entry in sorted(found.signature_def, key=lambda entry: entry.key)
        }

    def status(self, target: Target) -> Steps[list[VersionStatus]]:
        """Where a model's versions stand, newest first."""
        request = GetModelStatusRequest()
        target.fill(request.model_spec)
        response = yield Call(f"{_MODEL}GetModelStatus", request, GetModelStatusResponse)
        found = [
            VersionStatus(
                entry.version, _STATES.get(entry.state, "UNKNOWN"), entry.status.error_message
            )
            for entry in response.model_version_status
        ]
        return sorted(found, reverse=True)

    def _known_columns(self, target: Target) -> Steps[tuple[int, Columns]]:
        if target not in self._columns:
            version, names = yield from _run(target, "request_columns", {}, ())
            of = {kind: tuple(name.decode() for name in found) for kind, found in names.items()}
            matrices = {kind: of[kind] for kind in of if kind.endswith(("_text", "_numbers"))}
            columns = Columns(of["text"], of["numeric"], of.get("histories", ()), matrices)
            self._columns[target] = version, columns
        return self._columns[target]


def _run(
    target: Target,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
) -> Steps[tuple[int, dict[str, np.ndarray]]]:
    request = PredictRequest()
    target.fill(request.model_spec)
    request.model_spec.signature_name = signature
    request.output_filter.extend(outputs)
    for name, value in inputs.items():
        write_tensor(name, value, request.inputs.add(key=name).value)
    response = yield Call(f"{_PREDICTION}Predict", request, PredictResponse)
    found = sorted(response.outputs, key=lambda entry: entry.key)
    return response.model_spec.version.value, {
        entry.key: read_tensor(entry.key, entry.value) for entry in found
    }


def _specs(entries: Sequence[Any]) -> dict[str, TensorSpec]:
    found = {}
    for entry in sorted(entries, key=lambda entry: entry.key):
        shape = entry.value.tensor_shape
        sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        found[entry.key] = TensorSpec(
            type_name(entry.value.dtype), None if shape.unknown_rank else sizes
        )
    return found
