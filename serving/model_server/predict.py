"""Runs a signature on named inputs.

Checks, codes and texts are TensorFlow Serving's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.model_server.request_error import RequestError, invalid
from serving.model_server.servable import Servable
from serving.model_server.tensors import read_tensor, type_name, write_tensor
from serving.signatures import SERVING_DEFAULT

Run = Callable[[Servable, Any, Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]]
"""How a graph is run: model, SignatureDef, values by tensor name, tensor names to fetch."""


def predict(servable: Servable, version: int, request: PredictRequest, run: Run) -> PredictResponse:
    """Answers a PredictRequest.

    Args:
      servable: The model.
      version: Its version, which the response names.
      request: Which signature to run, on what, and which outputs to return.
      run: Runs the graph.

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
    _check_names(signature, request.inputs)
    inputs = {alias: read_tensor(request.inputs[alias], alias) for alias in sorted(request.inputs)}
    outputs = run_signature(servable, signature, inputs, request.output_filter, run)

    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.model_spec.signature_name = name
    for alias, value in outputs.items():
        write_tensor(value, signature.outputs[alias].dtype, response.outputs[alias])
    return response


def run_signature(
    servable: Servable,
    signature: Any,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str],
    run: Run,
) -> dict[str, np.ndarray]:
    """Runs a signature on arrays.

    Args:
      servable: The model.
      signature: Its SignatureDef.
      inputs: A value for each of the signature's inputs.
      output_filter: Names of the outputs to return; all of them if there is none.
      run: Runs the graph.

    Returns:
      The outputs by their names, in the order of the names.

    Raises:
      RequestError: INVALID_ARGUMENT, if a value or an output does not fit the signature.
      tf.errors.OpError: if the model fails on it.
    """
    feeds = {}
    for position, alias in enumerate(sorted(inputs)):
        info, value = signature.inputs[alias], inputs[alias]
        dtype = tf.as_dtype(value.dtype).as_datatype_enum
        if dtype != info.dtype:
            raise invalid(
                f"Expects arg[{position}] to be {type_name(info.dtype)} but "
                f"{type_name(dtype)} is provided"
            )
        expected = tf.TensorShape(info.tensor_shape)
        if not expected.is_compatible_with(value.shape):
            raise invalid(f"Shape of input {alias}: found {list(value.shape)}; expected {expected}")
        feeds[info.name] = value
    aliases = sorted(_outputs(signature, output_filter))
    values = run(servable, signature, feeds, [signature.outputs[alias].name for alias in aliases])
    return dict(zip(aliases, values, strict=True))


def _check_names(signature: Any, inputs: Mapping[str, Any]) -> None:
    sent, required = set(inputs), set(signature.inputs)
    if len(sent) != len(required):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_set(sent)}) != len({_set(required)}). Sent extra: {_set(sent - required)}. "
            f"Missing but required: {_set(required - sent)}."
        )
    for alias in sorted(required - sent):
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{_set(sent)}, or default input alias set: "
        )


def _outputs(signature: Any, wanted: Sequence[str]) -> list[str]:
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_set(signature.outputs)}."
            )
        if alias in wanted[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return list(wanted) or list(signature.outputs)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
