"""What both ports answer with: the calls, without gRPC or HTTP around them."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving.model_server.batching import Batcher
from serving.model_server.classify_regress import classify, multi_inference, regress
from serving.model_server.metrics import Metrics
from serving.model_server.model_registry import ModelRegistry
from serving.model_server.predict import Run, predict
from serving.model_server.refusal import refusal
from serving.model_server.request_error import RequestError, invalid
from serving.model_server.servable import Servable


class Answers:
    """Answers requests from the models that are loaded.

    Every call takes the time, on time.monotonic's clock, when its answer is worth nothing any more.

    Args:
      models: The models.
      metrics: Learns of each request that runs a model.
      batcher: Merges requests; None runs each alone.
    """

    def __init__(self, models: ModelRegistry, metrics: Metrics, batcher: Batcher | None):
        self.models = models
        self._metrics = metrics
        self._batcher = batcher

    def predict(
        self, request: PredictRequest, entrypoint: str, deadline: float = math.inf
    ) -> PredictResponse:
        """Answers Predict."""
        _check_has_spec(request)
        with self.running(request.model_spec, "Predict", entrypoint, deadline) as held:
            version, servable, run = held
            return predict(servable, version, request, run)

    def classify(
        self, request: ClassificationRequest, entrypoint: str, deadline: float = math.inf
    ) -> ClassificationResponse:
        """Answers Classify."""
        _check_has_spec(request)
        with self.running(request.model_spec, "Classify", entrypoint, deadline) as held:
            version, servable, run = held
            response = classify(servable, version, request, run)
        self._metrics.examples(request.model_spec.name, len(response.result.classifications))
        return response

    def regress(
        self, request: RegressionRequest, entrypoint: str, deadline: float = math.inf
    ) -> RegressionResponse:
        """Answers Regress."""
        _check_has_spec(request)
        with self.running(request.model_spec, "Regress", entrypoint, deadline) as held:
            version, servable, run = held
            response = regress(servable, version, request, run)
        self._metrics.examples(request.model_spec.name, len(response.result.regressions))
        return response

    def multi_inference(
        self, request: MultiInferenceRequest, entrypoint: str, deadline: float = math.inf
    ) -> MultiInferenceResponse:
        """Answers MultiInference."""
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        with self.running(spec, "MultiInference", entrypoint, deadline) as held:
            version, servable, run = held
            response = multi_inference(servable, version, request, run)
        given = request.input
        count = len(given.example_list.examples or given.example_list_with_context.examples)
        self._metrics.examples(spec.name, count)
        return response

    def metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Answers GetModelMetadata."""
        _check_has_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response = GetModelMetadataResponse()
        with self.models.use(request.model_spec) as (version, servable):
            signatures = SignatureDefMap(signature_def=servable.signature_defs)
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        """Answers GetModelStatus."""
        _check_has_spec(request)
        spec = request.model_spec
        states = self.models.states(spec.name)
        missing = f"Could not find any versions of model {spec.name}"
        if spec.HasField("version"):
            states = {v: state for v, state in states.items() if v == spec.version.value}
            missing = f"Could not find version {spec.version.value} of model {spec.name}"
        if not states:
            raise RequestError(grpc.StatusCode.NOT_FOUND, missing)
        response = GetModelStatusResponse()
        for version in sorted(states, reverse=True):
            state = states[version]
            entry = response.model_version_status.add(version=version, state=state.state)
            entry.status.error_code = state.error_code
            entry.status.error_message = state.error_message
        return response

    @contextlib.contextmanager
    def running(
        self, spec: ModelSpec, api: str, entrypoint: str, deadline: float = math.inf
    ) -> Iterator[tuple[int, Servable, Run]]:
        """Holds the version that a request names, and counts the request.

        Yields:
          Its number, the model, and how it is run.
        """
        start, status = time.monotonic(), "OK"
        try:
            with self.models.use(spec) as (version, servable):
                yield version, servable, functools.partial(self._run, spec.name, api, deadline)
        except BaseException as error:
            status = refusal(error)[0].name
            raise
        finally:
            # Names that callers make up would let the counts grow without end.
            known = spec.name if spec.name in self.models.names() else ""
            self._metrics.request(known, api, entrypoint, status, time.monotonic() - start)

    def _run(
        self,
        model: str,
        api: str,
        deadline: float,
        servable: Servable,
        signature: Any,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
    ) -> list[np.ndarray]:
        start = time.monotonic()
        if self._batcher is None:
            values = servable.run(feeds, fetches)
        else:
            values = self._batcher.run(servable, signature, feeds, fetches, deadline)
        self._metrics.run(model, api, time.monotonic() - start)
        return values


def _check_has_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
