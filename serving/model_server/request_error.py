"""A request that cannot be answered."""

from __future__ import annotations

import grpc


class RequestError(Exception):
    """Carries what a server answers instead.

    Args:
      code: The status.
      message: Its text; TensorFlow Serving's own wherever it has one for the case.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> RequestError:
    """The status INVALID_ARGUMENT with its text."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
