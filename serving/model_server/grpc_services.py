"""TensorFlow Serving's two gRPC services.

The third, SessionService, is not registered by tensorflow_model_server either.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceServicer
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving.model_server.answers import Answers
from serving.model_server.refusal import log_fault, refusal
from serving.model_server.request_error import RequestError, invalid

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


def _answering(
    answer: Callable[[Any, _Request, float], _Response],
) -> Callable[[Any, _Request, grpc.ServicerContext], _Response]:
    """Hands a call its deadline, and turns what it raises into a status."""

    @functools.wraps(answer)
    def call(service: Any, request: _Request, context: grpc.ServicerContext) -> _Response:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        try:
            if remaining == 0 or not context.is_active():
                # It waited for a thread for too long; nobody waits for it any more.
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return answer(service, request, deadline)
        except Exception as error:
            code, message = refusal(error)
            log_fault(code, error)
        return context.abort(code, message)

    return call


class RefuseUnreadable(grpc.ServerInterceptor):
    """Answers bytes that are no message with INVALID_ARGUMENT; gRPC itself says INTERNAL."""

    def intercept_service(
        self, continuation: Any, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Reads a call's requests so that the call learns what is wrong with them."""
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler

        message_class = handler.request_deserializer.__self__

        def read(content: bytes) -> Any:
            message = message_class()
            try:
                # Protobuf stops at the end of a group that did not begin, and only warns of it.
                if message.MergeFromString(content) == len(content):
                    return message
                return DecodeError("Unexpected end-group tag")
            except DecodeError as error:
                return error

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if isinstance(request, DecodeError):
                call = handler_call_details.method.rpartition("/")[2]
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"{call}: found no request: {request}"
                )
            return behaviour(request, context)

        if handler.response_streaming:
            behaviour = handler.unary_stream
            return grpc.unary_stream_rpc_method_handler(answer, read, handler.response_serializer)
        behaviour = handler.unary_unary
        return grpc.unary_unary_rpc_method_handler(answer, read, handler.response_serializer)


class PredictionService(PredictionServiceServicer):
    """Runs models.

    Args:
      answers: Answers the calls.
    """

    def __init__(self, answers: Answers):
        self._answers = answers

    @_answering
    def Predict(self, request: PredictRequest, deadline: float) -> PredictResponse:  # noqa: N802
        """Runs a signature on tensors."""
        return self._answers.predict(request, "GRPC", deadline)

    @_answering
    def Classify(  # noqa: N802
        self, request: ClassificationRequest, deadline: float
    ) -> ClassificationResponse:
        """Runs a signature that gives classes, scores or both, on examples."""
        return self._answers.classify(request, "GRPC", deadline)

    @_answering
    def Regress(self, request: RegressionRequest, deadline: float) -> RegressionResponse:  # noqa: N802
        """Runs a signature that gives a number, on examples."""
        return self._answers.regress(request, "GRPC", deadline)

    @_answering
    def MultiInference(  # noqa: N802
        self, request: MultiInferenceRequest, deadline: float
    ) -> MultiInferenceResponse:
        """Runs several signatures on the same examples."""
        return self._answers.multi_inference(request, "GRPC", deadline)

    @_answering
    def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, deadline: float
    ) -> GetModelMetadataResponse:
        """Tells a model's signatures."""
        return self._answers.metadata(request)


class ModelService(ModelServiceServicer):
    """Tells of the models' versions, and changes which models are served.

    Args:
      answers: Answers the calls.
      reloaded: Called after the list of models has changed.
    """

    def __init__(self, answers: Answers, reloaded: Callable[[], None]):
        self._answers = answers
        self._reloaded = reloaded

    @_answering
    def GetModelStatus(  # noqa: N802
        self, request: GetModelStatusRequest, deadline: float
    ) -> GetModelStatusResponse:
        """Tells where each version stands."""
        return self._answers.status(request)

    @_answering
    def HandleReloadConfigRequest(  # noqa: N802
        self, request: ReloadConfigRequest, deadline: float
    ) -> ReloadConfigResponse:
        """Serves another list of models."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        try:
            self._answers.models.reload(request.config)
        finally:
            self._reloaded()
        return ReloadConfigResponse()
