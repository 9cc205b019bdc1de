"""TensorFlow Serving's two gRPC services.

The third, SessionService, is not registered by tensorflow_model_server either.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import tensorflow as tf
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
from serving.model_server.refusal import refusal
from serving.model_server.request_error import RequestError, invalid

_logger = logging.getLogger(__name__)

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
            if not isinstance(error, (RequestError, tf.errors.OpError)):
                _logger.exception("A request failed")
            code, message = refusal(error)
        return context.abort(code, message)

    return call


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
