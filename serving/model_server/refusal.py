"""What is answered where an error was raised."""

from __future__ import annotations

import logging
import re

import grpc
import tensorflow as tf

from serving.model_server.request_error import RequestError

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_MESSAGE_LIMIT = 1024  # Characters of an error's text, as in TensorFlow Serving.

_logger = logging.getLogger(__name__)


def refusal(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """A status and its text."""
    if isinstance(error, RequestError):
        code, message = error.code, error.message
    elif isinstance(error, tf.errors.OpError):
        code, message = _STATUS[error.error_code], _op_message(error)
    else:
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    if len(message) > _MESSAGE_LIMIT:
        message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
    return code, message


def log_fault(code: grpc.StatusCode, error: BaseException) -> None:
    """Logs what a request ended with if that is a fault of the server, and not of the caller."""
    if code is grpc.StatusCode.INTERNAL:
        _logger.error("A request failed", exc_info=error)


def _op_message(error: tf.errors.OpError) -> str:
    """The op's own text, without what Python's Session puts before it."""
    preamble = r"Graph execution error:\n+(Detected at node .*?<stack traces unavailable>\n)?"
    return re.sub(rf"^{preamble}", "", error.message, count=1, flags=re.DOTALL)
