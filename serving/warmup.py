"""Requests that a server runs on a new version before it takes others."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.example_requests import (
    Columns,
    one_users_examples,
    ranking_matrices,
    request_examples,
)
from serving.ranking_signatures import RANK
from serving.signatures import SERVING_DEFAULT

WARMUP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for them in a SavedModel."""

MOST_REQUESTS = 1000
"""TensorFlow Serving refuses a version with more."""

Request = tuple[str, Mapping[str, np.ndarray]]
"""A signature's name, and its inputs by name; text as objects."""


def warmup_requests(
    raw: Sequence[bytes], columns: Columns, rows: Sequence[int], candidates: Sequence[int]
) -> list[Request]:
    """Requests of real rows.

    Args:
      raw: Serialized tf.Examples, with whatever else they hold; taken again from the first on
        where a request is of more.
      columns: What the model's `request_columns` names.
      rows: Examples of each request to `serving_default`.
      candidates: Candidates of each request to `rank`; without effect on a model that has no such
        signature.

    Raises:
      ValueError: if there is no example.
    """
    if not raw:
        raise ValueError("warm-up requests: found no example; expected one at least")
    requests: list[Request] = []
    for count in rows:
        examples = request_examples(_first(raw, count), columns)
        requests.append((SERVING_DEFAULT, {"examples": np.array(examples, object)}))
    for count in candidates if "item_text" in columns else ():
        examples = one_users_examples(_first(raw, count), columns)
        requests.append((RANK, ranking_matrices(examples, columns, ("user", "history", "item"))))
    return requests


def write_requests(path: str, requests: Iterable[Request]) -> None:
    """Writes requests as TensorFlow Serving reads them: a TFRecord file of PredictionLog.

    Args:
      path: The file; its folder is made.
      requests: Predict requests.
    """
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                dtype = tf.string if value.dtype == object else None
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype, value.shape))
            writer.write(log.SerializeToString(deterministic=True))


def _first(raw: Sequence[bytes], count: int) -> list[bytes]:
    return list(itertools.islice(itertools.cycle(raw), count))
