"""Asks a model server, ours or TensorFlow Serving, for predictions.

Starts without TensorFlow. `serving.async_client` has the same for asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import numpy as np

from serving.client_calls import (
    CHANNEL_OPTIONS,
    Call,
    Calls,
    PredictError,
    Retries,
    Signature,
    Steps,
    Target,
    TensorSpec,
    VersionStatus,
)
from serving.client_examples import Columns

__all__ = [
    "Client",
    "ClientTls",
    "Columns",
    "PredictError",
    "Signature",
    "TensorSpec",
    "VersionStatus",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class ClientTls:
    """How a client trusts a server, and proves itself to it; PEM each.

    Args:
      ca: The authority of the server's certificate; None for those that gRPC comes with.
      key: The client's own private key, for mutual TLS.
      certificate: Its certificate.
      server_name: The name in the server's certificate, where it is not that of its address.
    """

    ca: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    def options(self) -> list[tuple[str, str]]:
        """Of the channel."""
        name = self.server_name
        return [] if name is None else [("grpc.ssl_target_name_override", name)]


class Client:
    """A connection to a model server, kept open; threads may share it.

    Args:
      address: host:port.
      timeout: Seconds a call may take, retries included.
      retries: Further attempts while the server is unavailable; nothing else is tried again.
      backoff: Seconds before the first retry; each further one waits about twice as long.
      tls: Encrypts the connection; None does not.

    Example:
      with Client("127.0.0.1:8500") as client:
          scores = client.predict("simulated", [{"user_id": 7, "item_id": "42", "tab": "feed"}])
          scores["click"]  # float32 [1]
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 5.0,
        retries: int = 4,
        backoff: float = 0.1,
        tls: ClientTls | None = None,
    ):
        if not timeout > 0:
            raise ValueError(f"timeout: found {timeout}; expected more than 0 seconds")
        self.address = address
        self._timeout = timeout
        self._retries = Retries(retries, backoff)
        self._calls = Calls()
        if tls is None:
            self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            options = [*CHANNEL_OPTIONS, *tls.options()]
            self._channel = grpc.secure_channel(address, tls.credentials(), options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def columns(
        self, model: str, *, version: int | None = None, label: str | None = None
    ) -> Columns:
        """What a model takes in a request, asked of the server once.

        Args:
          model: The model's name.
          version: Asks for this version; the newest by default.
          label: Asks for the version with this label.

        Raises:
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._run(self._calls.columns(Target(model, version, label)))

    def predict(
        self,
        model: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Scores rows.

        Args:
          model: The model's name.
          rows: B rows of raw columns. A text column takes str, bytes or an integer, a numeric one
            any number; None, or leaving the column out, means missing. A column of a history takes
            a list of such values, oldest first; all those of a row are equally long.
          version: Asks for this version; the newest by default.
          label: Asks for the version with this label.

        Returns:
          Each task's probability, float32 [B].

        Raises:
          ValueError: if a row holds a column that the model does not take, or a value that the
            column does not.
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._run(self._calls.predict(Target(model, version, label), rows))

    def rank(
        self,
        model: str,
        user: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Scores candidates for one user; what depends on the user alone is computed once.

        Args:
          model: The model's name.
          user: Raw columns of the user and the context, as in a row of `predict`, histories too.
          items: Raw columns of N candidates.
          version: Asks for this version; the newest by default.
          label: Asks for the version with this label.

        Returns:
          Each task's prediction, and the fused score if the model has one, float32 [N], in the
          order of the items.

        Raises:
          ValueError: if the model does not rank, if a column is not the user's or not the
            candidates', or holds a value that it does not take.
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._run(self._calls.rank(Target(model, version, label), user, items))

    def call(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature of a model.

        Args:
          model: The model's name.
          signature: The signature's name.
          inputs: Arrays by name: float32, float64, int32, int64, bool, or str or bytes. Numbers
            travel as they lie in memory.
          outputs: Names of the outputs to return; all of them by default.
          version: Asks for this version; the newest by default.
          label: Asks for the version with this label.

        Returns:
          The outputs by name; text as bytes in an array of objects.

        Raises:
          ValueError: if an array is of another type.
          PredictError: if the server refuses, or does not answer in time.
        """
        target = Target(model, version, label)
        return self._run(self._calls.call(target, signature, inputs, outputs))

    def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None
    ) -> dict[str, Signature]:
        """What a model's signatures take and give.

        Args:
          model: The model's name.
          version: Asks for this version; the newest by default.
          label: Asks for the version with this label.

        Raises:
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._run(self._calls.signatures(Target(model, version, label)))

    def status(self, model: str, *, version: int | None = None) -> list[VersionStatus]:
        """Where a model's versions stand, newest first.

        Args:
          model: The model's name.
          version: Asks for this version alone.

        Raises:
          PredictError: if the server refuses, or does not answer in time.
        """
        return self._run(self._calls.status(Target(model, version, None)))

    def _run(self, steps: Steps[_T]) -> _T:
        deadline = time.monotonic() + self._timeout
        try:
            call = next(steps)
            while True:
                try:
                    answer = self._send(call, deadline)
                except PredictError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result

    def _send(self, call: Call, deadline: float) -> Any:
        send = self._channel.unary_unary(
            call.method,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        attempt = 0
        while True:
            try:
                return send(call.request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failed = PredictError(self.address, error.code(), error.details())
            pause = self._retries.pause(failed, attempt, deadline)
            if pause is None:
                raise failed
            time.sleep(pause)
            attempt += 1
