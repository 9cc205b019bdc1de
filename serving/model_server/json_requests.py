"""JSON of TensorFlow Serving's REST API to inputs: rows, columns, and tf.Examples.

The texts of what is wrong are TensorFlow Serving's.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.input_pb2 import Input

from serving.model_server.request_error import RequestError, invalid
from serving.model_server.tensors import type_name

_INTEGERS = {
    tf.int8: (-(2**7), 2**7 - 1),
    tf.int16: (-(2**15), 2**15 - 1),
    tf.int32: (-(2**31), 2**31 - 1),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint8: (0, 2**8 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
}
_FLOATS = (tf.float32, tf.float64)
_MOST_DIMENSIONS = 32  # NumPy's; TensorFlow itself takes 254.
_MOST_DIGITS = 310  # Of an integer that a double can hold.
_LONGEST_QUOTE = 256  # Characters of JSON in a text, as in TensorFlow Serving.


def parse(body: bytes) -> dict[str, Any]:
    """The object that a request's body is.

    Raises:
      RequestError: INVALID_ARGUMENT, if it is none.
    """
    try:
        text = body.decode("utf-8-sig")
        if not text.strip():
            raise invalid("JSON Parse error: The document is empty")
        value = json.loads(text, parse_float=_number, parse_int=_integer)
        if "\\u" in text:
            _refuse_half_characters(value)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {_text(value)} Is not object")
    return value


def signature_name(request: Mapping[str, Any]) -> str:
    """The signature that a request names, or "".

    Raises:
      RequestError: INVALID_ARGUMENT, if the name is no text.
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_text(request)} not formatted correctly. 'signature_name' key must be a "
            "string value."
        )
    return name


def predict_inputs(
    request: Mapping[str, Any], infos: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], bool]:
    """The inputs of a :predict.

    Args:
      request: The body; "instances" lists rows, "inputs" holds columns.
      infos: The TensorInfo of each input of the signature.

    Returns:
      An array for each input; and whether they came as rows, as the outputs then go.

    Raises:
      RequestError: INVALID_ARGUMENT, if they do not fit the signature; UNIMPLEMENTED, if an input
        is of a type that JSON has no values for.
    """
    if "instances" in request and "inputs" in request:
        raise invalid(
            f"JSON Value: {_text(request)} Not formatted correctly expecting only one of 'inputs' "
            "or 'instances' keys to exist "
        )
    if "instances" in request:
        rows = request["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {_text(request)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {_text(request)} No values in 'instances' array")
        return _from_rows(rows, infos), True
    if "inputs" in request:
        return _from_columns(request["inputs"], infos), False
    raise invalid("Missing 'inputs' or 'instances' key")


def example_input(request: Mapping[str, Any]) -> Input:
    """The examples, and the context, of a :classify or :regress.

    Raises:
      RequestError: INVALID_ARGUMENT, if there is none, or a value that no feature can have.
    """
    filled = Input()
    examples = filled.example_list.examples
    if "context" in request:
        with_context = filled.example_list_with_context
        _fill_example(request["context"], with_context.context)
        examples = with_context.examples
    if "examples" not in request:
        raise invalid(
            f"JSON Value: {_text(request)} When method is classify, key 'examples' is expected and "
            "was not found"
        )
    values = request["examples"]
    if not isinstance(values, list):
        raise invalid(
            f"JSON Value: {_text(request)} Expecting 'examples' value to be an list/array"
        )
    if not values:
        raise invalid(f"JSON Value: {_text(request)} 'examples' value is an empty array")
    for value in values:
        _fill_example(value, examples.add())
    return filled


def _from_rows(rows: Sequence[Any], infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_object(rows[0])
    dtypes = {name: tf.as_dtype(info.dtype) for name, info in infos.items()}
    values: dict[str, list[np.ndarray]] = {name: [] for name in infos}
    for number, row in enumerate(rows):
        if named and not _is_object(row):
            raise invalid(f"Expecting object but got list at item {number} of input list")
        if not named and _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        for name, value in (row if named else {next(iter(infos)): row}).items():
            try:
                if name not in infos:
                    raise invalid(f"JSON object: does not have named input: {name}")
                values[name].append(_row_value(value, dtypes[name], values[name]))
            except RequestError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: "
                    f"{error.code.name}: {error.message}"
                ) from error
        if named and row.keys() != infos.keys():
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{_text(row)} must only have keys: {','.join(sorted(infos))}"
            )
    return {name: np.stack(found) for name, found in values.items()}


def _row_value(value: Any, dtype: tf.DType, before: Sequence[np.ndarray]) -> np.ndarray:
    array = _array(value, dtype, 1)
    if before and before[0].size != array.size:
        raise invalid(f"Expecting tensor size: {before[0].size} but got: {array.size}")
    if before and before[0].shape != array.shape:
        raise invalid(f"Expecting shape {_shape(before[0].shape)} but got: {_shape(array.shape)}")
    return array


def _from_columns(value: Any, infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        value = {name: value for name in infos}
    for name in infos:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], tf.as_dtype(info.dtype), 0) for name, info in infos.items()}


def _array(value: Any, dtype: tf.DType, batch_dimensions: int) -> np.ndarray:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if len(shape) + batch_dimensions > _MOST_DIMENSIONS:
        raise invalid(
            f"Encountered lists nested {len(shape)} deep; expected at most "
            f"{_MOST_DIMENSIONS - batch_dimensions}"
        )
    flat: list[Any] = []
    _collect(value, 0, shape, flat)
    read = _reader(dtype)
    filled = np.empty(len(flat), dtype.as_numpy_dtype)
    # What a float cannot hold is the nearest that it can, or infinite.
    with np.errstate(over="ignore"):
        filled[:] = [read(leaf) for leaf in flat]
    return filled.reshape(shape)


def _collect(value: Any, level: int, shape: Sequence[int], flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        flat.append(value)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for inner in value:
        _collect(inner, level + 1, shape, flat)


def _reader(dtype: tf.DType) -> Callable[[Any], Any]:
    """What turns a JSON value into one of a type, or refuses it."""
    name = type_name(dtype.as_datatype_enum)

    def refused(value: Any) -> RequestError:
        return invalid(
            f"JSON Value: {_text(value)} Type: {_kind(value)} is not of expected type: {name}"
        )

    def text(value: Any) -> bytes:
        if isinstance(value, dict):
            return _bytes(value)
        if isinstance(value, str):
            return value.encode()
        raise refused(value)

    def truth(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise refused(value)

    def number(value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise refused(value)

    def integer(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise refused(value)

    def unimplemented(value: Any) -> RequestError:
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_text(value)} to type: {name}",
        )

    if dtype == tf.string:
        return text
    if dtype == tf.bool:
        return truth
    if dtype in _FLOATS:
        return number
    if dtype not in _INTEGERS:
        return unimplemented
    least, most = _INTEGERS[dtype]
    return integer


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"Number too big to be stored in double: {text[:_LONGEST_QUOTE]}")
    return value


def _integer(text: str) -> int | float:
    # As there: an integer of more than 64 bits is a double.
    value = int(text) if len(text) <= _MOST_DIGITS else None
    return value if value is not None and -(2**63) <= value < 2**64 else _number(text)


def _refuse_half_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("The surrogate pair in string is invalid.") from error


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_kind(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(name, element, feature)


def _add_to_feature(name: str, value: Any, feature: Any) -> None:
    if isinstance(value, bool):
        kind, value = "int64_list", int(value)
    elif isinstance(value, str):
        kind, value = "bytes_list", value.encode()
    elif _is_base64(value):
        kind, value = "bytes_list", _bytes(value)
    elif isinstance(value, float):
        kind = "float_list"
    elif isinstance(value, int):
        kind = "int64_list"
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(value)}")
    before = feature.WhichOneof("kind")
    if before not in (None, kind):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{before.removesuffix('_list')}"
        )
    getattr(feature, kind).value.append(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _bytes(value: Mapping[str, Any]) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
    # The padding may be left out, or be of dots, and white space is skipped, as there.
    text = "".join(value["b64"].split()).replace(".", "=")
    if not text.endswith("="):
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _kind(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    kinds = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return kinds[type(value)]


def _text(value: Any) -> str:
    text = ""
    for piece in json.JSONEncoder().iterencode(value):
        text += piece
        if len(text) > _LONGEST_QUOTE:
            return text[:_LONGEST_QUOTE] + "..."
    return text


def _shape(sizes: Sequence[int]) -> str:
    return "[" + ",".join(map(str, sizes)) + "]"
