"""Answers a PredictRequest from a loaded model.

Checks, codes and texts are TensorFlow Serving's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.request_error import RequestError
from serving.servable import Servable
from serving.signatures import SERVING_DEFAULT


def predict(servable: Servable, version: int, request: PredictRequest) -> PredictResponse:
    """Runs a signature of a model.

    Args:
      servable: The model.
      version: Its version, which the response names.
      request: Which signature to run, on what, and which outputs to return.

    Returns:
      The outputs, each as the field of its type, and the model's name, version and signature.

    Raises:
      RequestError: if the request does not fit the signature.
      tf.errors.OpError: if the model fails on it.
    """
    name = request.model_spec.signature_name or SERVING_DEFAULT
    if name not in servable.signatures:
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
        )
    signature = servable.signatures[name]
    feeds = _feeds(signature, request)
    aliases = sorted(_outputs(signature, request))
    values = servable.run(feeds, [signature.outputs[alias].name for alias in aliases])

    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.model_spec.signature_name = name
    for alias, value in zip(aliases, values, strict=True):
        _write(np.asarray(value), signature.outputs[alias].dtype, response.outputs[alias])
    return response


def _feeds(signature: Any, request: PredictRequest) -> dict[str, np.ndarray]:
    sent, required = set(request.inputs), set(signature.inputs)
    if len(sent) != len(required):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_set(sent)}) != len({_set(required)}). Sent extra: {_set(sent - required)}. "
            f"Missing but required: {_set(required - sent)}."
        )
    feeds = {}
    for position, alias in enumerate(sorted(required)):
        info = signature.inputs[alias]
        if alias not in sent:
            raise _invalid(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {_set(sent)}, "
                "or default input alias set: "
            )
        value = _read(request.inputs[alias], alias)
        if request.inputs[alias].dtype != info.dtype:
            raise _invalid(
                f"Expects arg[{position}] to be {_type_name(info.dtype)} but "
                f"{_type_name(request.inputs[alias].dtype)} is provided"
            )
        expected = tf.TensorShape(info.tensor_shape)
        if not expected.is_compatible_with(value.shape):
            raise _invalid(
                f"Shape of input {alias}: found {list(value.shape)}; expected {expected}"
            )
        feeds[info.name] = value
    return feeds


def _outputs(signature: Any, request: PredictRequest) -> list[str]:
    wanted = list(request.output_filter)
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_set(signature.outputs)}."
            )
        if alias in wanted[:position]:
            raise _invalid(f"duplicate output tensor alias: {alias}")
    return wanted or list(signature.outputs)


def _read(tensor: Any, alias: str) -> np.ndarray:
    """A TensorProto's value; one that claims more than it holds costs no memory."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    # A single value may stand for all, but a message has a byte for each that was meant.
    if min(sizes, default=0) < 0 or math.prod(sizes) > max(tensor.ByteSize(), 1):
        raise _invalid(f"tensor parsing error: {alias}")
    try:
        return tf.make_ndarray(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"tensor parsing error: {alias}") from error


def _write(value: np.ndarray, dtype: int, tensor: Any) -> None:
    tensor.dtype = dtype
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    fields = {
        tf.float32: tensor.float_val,
        tf.float64: tensor.double_val,
        tf.int32: tensor.int_val,
        tf.int64: tensor.int64_val,
        tf.bool: tensor.bool_val,
        tf.string: tensor.string_val,
    }
    if tf.as_dtype(dtype) in fields:
        fields[tf.as_dtype(dtype)].extend(value.ravel().tolist())
    else:
        tensor.tensor_content = value.tobytes()


def _type_name(dtype: int) -> str:
    return DataType.Name(dtype).removeprefix("DT_").lower()


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
