"""Runs a version's warm-up requests before anyone else may use it."""

from __future__ import annotations

from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.model_server.classify_regress import classify, multi_inference, regress
from serving.model_server.predict import Run, predict
from serving.model_server.request_error import RequestError, invalid
from serving.model_server.servable import Servable
from serving.warmup import MOST_REQUESTS, WARMUP_REQUESTS


def warm_up(servable: Servable, version: int, path: Path, run: Run) -> int:
    """Runs them, if there are any.

    Args:
      servable: The model.
      version: Its version.
      path: Folder of the SavedModel.
      run: Runs the graph.

    Returns:
      How many there were.

    Raises:
      RequestError: if a record is no PredictionLog, if the model refuses one, or if there are
        more than `MOST_REQUESTS`.
      tf.errors.OpError: if the file is no TFRecord file, or the model fails on a request.
    """
    file = path / WARMUP_REQUESTS
    if not file.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        count += 1
        if count > MOST_REQUESTS:
            raise invalid(
                f"Number of warmup records exceeds the maximum ({MOST_REQUESTS}) at {file}"
            )
        try:
            log = PredictionLog.FromString(record)
        except DecodeError as error:
            raise invalid(f"Failed to parse warmup record {count} from {file}") from error
        _answer(servable, version, log, run)
    return count


def _answer(servable: Servable, version: int, log: PredictionLog, run: Run) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(servable, version, log.predict_log.request, run)
    elif kind == "classify_log":
        classify(servable, version, log.classify_log.request, run)
    elif kind == "regress_log":
        regress(servable, version, log.regress_log.request, run)
    elif kind == "multi_inference_log":
        multi_inference(servable, version, log.multi_inference_log.request, run)
    elif kind is not None:
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}"
        )
