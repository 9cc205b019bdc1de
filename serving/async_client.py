"""The client for asyncio; starts without TensorFlow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np

from serving.client import ClientTls
from serving.client_calls import (
    CHANNEL_OPTIONS,
    Call,
    Calls,
    PredictError,
    Retries,
    Signature,
    Steps,
    Target,
    VersionStatus,
)
from serving.client_examples import Columns

_T = TypeVar("_T")


class AsyncClient:
    """`serving.client.Client` for asyncio: the same calls, to be awaited.

    To be made where an event loop runs; the tasks of that loop may share it.

    Args:
      address: host:port.
      timeout: Seconds a call may take, retries included.
      retries: Further attempts while the server is unavailable; nothing else is tried again.
      backoff: Seconds before the first retry; each further one waits about twice as long.
      tls: Encrypts the connection; None does not.

    Example:
      async with AsyncClient("127.0.0.1:8500") as client:
          rows = [{"user_id": 7, "item_id": "42", "tab": "feed"}]
          scores = await client.predict("simulated", rows)
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
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            options = [*CHANNEL_OPTIONS, *tls.options()]
            self._channel = grpc.aio.secure_channel(address, tls.credentials(), options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def columns(
        self, model: str, *, version: int | None = None, label: str | None = None
    ) -> Columns:
        """As `Client.columns`."""
        return await self._run(self._calls.columns(Target(model, version, label)))

    async def predict(
        self,
        model: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.predict`."""
        return await self._run(self._calls.predict(Target(model, version, label), rows))

    async def rank(
        self,
        model: str,
        user: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.rank`."""
        return await self._run(self._calls.rank(Target(model, version, label), user, items))

    async def call(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.call`."""
        target = Target(model, version, label)
        return await self._run(self._calls.call(target, signature, inputs, outputs))

    async def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None
    ) -> dict[str, Signature]:
        """As `Client.signatures`."""
        return await self._run(self._calls.signatures(Target(model, version, label)))

    async def status(self, model: str, *, version: int | None = None) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._run(self._calls.status(Target(model, version, None)))

    async def _run(self, steps: Steps[_T]) -> _T:
        deadline = time.monotonic() + self._timeout
        try:
            call = next(steps)
            while True:
                try:
                    answer = await self._send(call, deadline)
                except PredictError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result

    async def _send(self, call: Call, deadline: float) -> Any:
        send = self._channel.unary_unary(
            call.method,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        attempt = 0
        while True:
            try:
                return await send(call.request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failed = PredictError(self.address, error.code(), error.details())
            pause = self._retries.pause(failed, attempt, deadline)
            if pause is None:
                raise failed
            await asyncio.sleep(pause)
            attempt += 1
