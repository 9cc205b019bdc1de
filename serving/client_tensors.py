"""Arrays to TensorProtos and back, without TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

_STRING = 7
# DataType, type and field, of what can be sent and read.
_NUMBERS: dict[int, tuple[np.dtype[Any], str]] = {
    1: (np.dtype("<f4"), "float_val"),
    2: (np.dtype("<f8"), "double_val"),
    3: (np.dtype("<i4"), "int_val"),
    9: (np.dtype("<i8"), "int64_val"),
    10: (np.dtype(bool), "bool_val"),
}
_TYPES = {dtype: number for number, (dtype, _) in _NUMBERS.items()}
_EXPECTED = "float32, float64, int32, int64, bool or text"


def type_name(dtype: int) -> str:
    """A DataType by the name of its array type, such as "float32"; "text" for strings."""
    if dtype == _STRING:
        return "text"
    return _NUMBERS[dtype][0].name if dtype in _NUMBERS else f"DataType {dtype}"


def write_tensor(name: str, value: np.ndarray, tensor: Any) -> None:
    """Fills a TensorProto; numbers go as `tensor_content`, one copy of the array's memory.

    Args:
      name: The input's name, for the error.
      value: Numbers, or str or bytes.
      tensor: The TensorProto, empty.

    Raises:
      ValueError: if the array is of another type.
    """
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    dtype = value.dtype.newbyteorder("<")
    if dtype in _TYPES:
        tensor.dtype = _TYPES[dtype]
        tensor.tensor_content = np.ascontiguousarray(value, dtype).tobytes()
    elif value.dtype.kind in "SUO":
        tensor.dtype = _STRING
        tensor.string_val.extend(_bytes(name, text) for text in value.ravel().tolist())
    else:
        raise ValueError(f"input {name}: found {value.dtype.name}; expected {_EXPECTED}")


def read_tensor(name: str, tensor: Any) -> np.ndarray:
    """A TensorProto's value.

    Args:
      name: The output's name, for the error.
      tensor: The TensorProto.

    Raises:
      ValueError: if it is of another type, or holds too few values.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == _STRING:
        values = np.empty(len(tensor.string_val), object)
        values[:] = list(tensor.string_val)
    elif tensor.dtype in _NUMBERS:
        dtype, field = _NUMBERS[tensor.dtype]
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype)
        else:
            values = np.array(getattr(tensor, field), dtype)
    else:
        raise ValueError(f"output {name}: found DataType {tensor.dtype}; expected {_EXPECTED}")
    count = int(np.prod(shape))
    if 0 < len(values) < count:
        # The last value stands for those that are left out.
        values = np.concatenate([values, np.repeat(values[-1:], count - len(values))])
    if len(values) != count:
        raise ValueError(f"output {name}: found {len(values)} values; expected shape {shape}")
    return values.reshape(shape)


def _bytes(name: str, text: Any) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode()
    raise ValueError(f"input {name}: found {text!r}; expected {_EXPECTED}")
