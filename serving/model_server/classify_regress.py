"""Answers Classify, Regress and MultiInference, which take tf.Examples.

Checks, codes and texts are TensorFlow Serving's. As tensorflow_model_server does by default, a
signature is taken by the names of its inputs and outputs, whatever its method name says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)

from serving.model_server.predict import Run, run_signature
from serving.model_server.request_error import RequestError, invalid
from serving.model_server.servable import Servable
from serving.signatures import SERVING_DEFAULT

_CLASSIFY = tf.compat.v1.saved_model.signature_constants.CLASSIFY_METHOD_NAME
_REGRESS = tf.compat.v1.saved_model.signature_constants.REGRESS_METHOD_NAME
_INPUTS, _OUTPUTS = "inputs", "outputs"
_CLASSES, _SCORES = "classes", "scores"


def classify(
    servable: Servable, version: int, request: ClassificationRequest, run: Run
) -> ClassificationResponse:
    """Runs a signature of `inputs` to `classes`, `scores` or both, [B, C] each, on examples.

    Args:
      servable: The model.
      version: Its version, which the response names.
      request: Which signature to run, and B examples.
      run: Runs the graph.

    Raises:
      RequestError: if the signature is none of that kind, or there is no example.
      tf.errors.OpError: if the model fails on them.
    """
    signature = _signature(servable, request.model_spec)
    _check_classification(signature)
    response = ClassificationResponse()
    _write_spec(request.model_spec, version, response.model_spec)
    examples = serialized_examples(request.input)
    response.result.CopyFrom(_classification(servable, signature, examples, run))
    return response


def regress(
    servable: Servable, version: int, request: RegressionRequest, run: Run
) -> RegressionResponse:
    """Runs a signature of `inputs` to `outputs`, [B] or [B, 1], on examples.

    Args:
      servable: The model.
      version: Its version, which the response names.
      request: Which signature to run, and B examples.
      run: Runs the graph.

    Raises:
      RequestError: if the signature is none of that kind, or there is no example.
      tf.errors.OpError: if the model fails on them.
    """
    signature = _signature(servable, request.model_spec)
    _check_regression(signature)
    response = RegressionResponse()
    _write_spec(request.model_spec, version, response.model_spec)
    examples = serialized_examples(request.input)
    response.result.CopyFrom(_regression(servable, signature, examples, run))
    return response


def multi_inference(
    servable: Servable, version: int, request: MultiInferenceRequest, run: Run
) -> MultiInferenceResponse:
    """Runs several signatures of those two kinds on the same examples.

    Args:
      servable: The model.
      version: Its version, which the response names.
      request: The signatures, and B examples.
      run: Runs the graph.

    Returns:
      A result for each task, in their order.

    Raises:
      RequestError: if a signature is of neither kind or stands there twice, or there is no example.
      tf.errors.OpError: if the model fails on them.
    """
    signatures: dict[str, Any] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.model_spec.signature_name or SERVING_DEFAULT
        if name in signatures:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in servable.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        signatures[name] = servable.signatures[name]
        if task.method_name == _CLASSIFY:
            _check_classification(signatures[name])
        elif task.method_name == _REGRESS:
            _check_regression(signatures[name])
        else:
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
    examples = serialized_examples(request.input)
    response = MultiInferenceResponse()
    for task, signature in zip(request.tasks, signatures.values(), strict=True):
        result = response.results.add()
        _write_spec(task.model_spec, version, result.model_spec)
        if task.method_name == _CLASSIFY:
            found = _classification(servable, signature, examples, run)
            result.classification_result.CopyFrom(found)
        else:
            result.regression_result.CopyFrom(_regression(servable, signature, examples, run))
    return response


def serialized_examples(given: Input) -> np.ndarray:
    """The serialized tf.Examples of an Input, string [B].

    The features of a context stand before those of each example, whose own win.

    Raises:
      RequestError: INVALID_ARGUMENT, if there is none.
    """
    context, examples = b"", given.example_list.examples
    if given.WhichOneof("kind") == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = given.example_list_with_context.examples
    if not examples:
        raise invalid("Input is empty.")
    return np.array([context + example.SerializeToString() for example in examples], object)


def _signature(servable: Servable, spec: Any) -> Any:
    name = spec.signature_name or SERVING_DEFAULT
    if name not in servable.signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return servable.signatures[name]


def _check_classification(signature: Any) -> None:
    _check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _check_inputs_name(signature, "classification")
    if _CLASSES not in signature.outputs and _SCORES not in signature.outputs:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}'
        )


def _check_regression(signature: Any) -> None:
    _check_one_input(signature)
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    _check_inputs_name(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")


def _check_one_input(signature: Any) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")


def _check_inputs_name(signature: Any, kind: str) -> None:
    if _INPUTS not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")


def _classification(
    servable: Servable, signature: Any, examples: np.ndarray, run: Run
) -> ClassificationResult:
    wanted = [name for name in (_CLASSES, _SCORES) if name in signature.outputs]
    found = run_signature(servable, signature, {_INPUTS: examples}, wanted, run)
    for name, values in found.items():
        _check_output(name, values, object if name == _CLASSES else np.float32, len(examples))
    if len({values.shape[1] for values in found.values()}) > 1:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{found[_CLASSES].shape[1]} vs. {found[_SCORES].shape[1]}"
        )
    result = ClassificationResult()
    for row in range(len(examples)):
        classes = result.classifications.add().classes
        for column in range(next(iter(found.values())).shape[1]):
            entry = classes.add()
            if _CLASSES in found:
                # The label is a string of the message, which holds nothing but UTF-8.
                entry.label = found[_CLASSES][row, column].decode(errors="replace")
            if _SCORES in found:
                entry.score = found[_SCORES][row, column]
    return result


def _check_output(name: str, values: np.ndarray, dtype: type, rows: int) -> None:
    if values.ndim != 2:
        raise invalid(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(values.shape)}"
        )
    if values.dtype != dtype:
        expected = "DT_STRING" if dtype is object else "DT_FLOAT"
        found = tf.as_dtype(values.dtype).name.upper()
        raise invalid(f"Expected {name} Tensor of {expected}. Got: DT_{found}")
    if len(values) != rows:
        raise invalid(f"Expected {name} output batch size of {rows}. Got: {len(values)}")


def _regression(
    servable: Servable, signature: Any, examples: np.ndarray, run: Run
) -> RegressionResult:
    values = run_signature(servable, signature, {_INPUTS: examples}, [_OUTPUTS], run)[_OUTPUTS]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(values.shape)}"
        )
    if len(values) != len(examples):
        raise invalid(
            f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: DT_{tf.as_dtype(values.dtype).name.upper()}"
        )
    result = RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape(sizes: Sequence[int]) -> str:
    return "[" + ",".join(map(str, sizes)) + "]"


def _write_spec(asked: Any, version: int, answered: Any) -> None:
    answered.name = asked.name
    answered.version.value = version
    answered.signature_name = asked.signature_name or SERVING_DEFAULT
