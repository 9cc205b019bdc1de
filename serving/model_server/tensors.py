"""TensorProto to array and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType

from serving.model_server.request_error import invalid

# The field of a TensorProto that holds a type's values; half floats lie there as 16 bits.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def read_tensor(tensor: Any, alias: str) -> np.ndarray:
    """A TensorProto's value; one that claims more than it holds costs no memory.

    Args:
      tensor: The TensorProto.
      alias: The input's name, for the error.

    Raises:
      RequestError: INVALID_ARGUMENT, if it holds no value of its type and shape.
    """
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    # A single value may stand for all, but a message has a byte for each that was meant.
    if min(sizes, default=0) < 0 or math.prod(sizes) > max(tensor.ByteSize(), 1):
        raise invalid(f"tensor parsing error: {alias}")
    try:
        return tf.make_ndarray(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f"tensor parsing error: {alias}") from error


def write_tensor(value: np.ndarray, dtype: int, tensor: Any) -> None:
    """Fills a TensorProto as TensorFlow Serving does: values in the field of their type.

    Args:
      value: The value.
      dtype: Its DataType.
      tensor: The TensorProto, empty.
    """
    tensor.dtype = dtype
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    field = _FIELDS.get(tf.as_dtype(dtype))
    if field is None:
        tensor.tensor_content = value.tobytes()
        return
    if field == "half_val":
        value = value.view(np.uint16)
    getattr(tensor, field).extend(value.ravel().tolist())


def type_name(dtype: int) -> str:
    """A DataType as TensorFlow's texts call it, such as "float"."""
    return DataType.Name(dtype).removeprefix("DT_").lower()
