"""Outputs to JSON of TensorFlow Serving's REST API."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.model_server.request_error import invalid


def rows(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Outputs as rows: an object a row, or a plain value where there is a single output.

    Raises:
      RequestError: INVALID_ARGUMENT, if they have no first dimension, or several.
    """
    batch: int | None = None
    for name, values in outputs.items():
        if not values.shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(values) != batch:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(values)} expecting: {batch}"
            )
        batch = len(values)
    columns = {name: _values(name, values) for name, values in outputs.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    cells = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in cells]}


def columns(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Outputs as columns: a list an output, or that list alone where there is a single output."""
    values = {name: _values(name, value) for name, value in outputs.items()}
    return {"outputs": next(iter(values.values())) if len(values) == 1 else values}


def classes(result: ClassificationResult) -> dict[str, Any]:
    """For each example its [label, score] pairs."""
    return {
        "results": [
            [[entry.label, _float32(entry.score)] for entry in classification.classes]
            for classification in result.classifications
        ]
    }


def numbers(result: RegressionResult) -> dict[str, Any]:
    """For each example its number."""
    return {"results": [_float32(regression.value) for regression in result.regressions]}


def status(response: GetModelStatusResponse) -> dict[str, Any]:
    """Versions, their states and what is wrong with them."""
    found: dict[str, Any] = _message(response)
    return found


def metadata(response: GetModelMetadataResponse) -> dict[str, Any]:
    """The model's version and signatures."""
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return {
        "model_spec": _message(response.model_spec),
        "metadata": {"signature_def": _message(signatures)},
    }


def dump(value: Mapping[str, Any]) -> bytes:
    """The text; numbers that are none are NaN, Infinity and -Infinity, as there."""
    return json.dumps(value, indent=1).encode()


def _values(name: str, values: np.ndarray) -> Any:
    if values.dtype == object:
        as_bytes = name.endswith("_bytes")
        flat = [_string(value, as_bytes) for value in values.ravel().tolist()]
        filled = np.empty(len(flat), object)
        filled[:] = flat
        return filled.reshape(values.shape).tolist()
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return _short(values.astype(np.float32))
    if values.dtype.kind not in "biuf":
        raise invalid(f"Failed to write JSON value for tensor type: {values.dtype.name}")
    return values.tolist()


def _string(value: bytes, as_bytes: bool) -> Any:
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass  # TensorFlow Serving would write what is no JSON.
    return {"b64": base64.b64encode(value).decode()}


def _short(values: np.ndarray) -> Any:
    """With the fewest digits that give the same float32."""
    flat = np.array([_float32(value) for value in values.ravel()], np.float64)
    return flat.reshape(values.shape).tolist()


def _float32(value: float) -> float:
    return float(str(np.float32(value)))


def _message(message: Any) -> Any:
    return MessageToDict(
        message, including_default_value_fields=True, preserving_proto_field_name=True
    )
