"""How an exported table keeps its rows."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf

RowFormat = Literal["float32", "float16", "int8"]

_LARGEST_INT8 = 127


class StoredRows(tf.Module):
    """Rows in fewer bytes than float32, if asked to; float32 again after they are gathered.

    - `float16`: 2 bytes a number, off by at most 2^-11 of it (2^-25 below 2^-14).
    - `int8`: a byte a number and a float32 scale a row, s = max|x| / 127; x is read as s times
      round(x / s), off by at most s / 2. Symmetric, so 0 stays 0.

    What is no number is none afterwards either; in `int8`, with it all of its row.

    Args:
      rows: float32 [R, D].
      kind: How to keep them.

    Raises:
      ValueError: if a number is beyond the format's range.
    """

    def __init__(self, rows: tf.Tensor, kind: RowFormat = "float32", name: str | None = None):
        super().__init__(name=name)
        self._scales: tf.Variable | None = None
        values = np.asarray(rows)
        if kind == "float16":
            with np.errstate(over="ignore"):
                narrow = values.astype(np.float16)
            beyond = np.isinf(narrow) & np.isfinite(values)
            if beyond.any():
                raise ValueError(
                    f"embedding rows: found {values[beyond][0]:g}; expected at most "
                    f"{np.finfo(np.float16).max:g} in size, as float16 holds"
                )
            values = narrow
        elif kind == "int8":
            values, scales = _quantised(values)
            self._scales = tf.Variable(scales, trainable=False, shape=[None], name="scales")
        self._values = tf.Variable(
            values, trainable=False, shape=[None, values.shape[1]], name="rows"
        )

    def gather(self, places: tf.Tensor) -> tf.Tensor:
        """Rows float32 [..., D] at places int64 [...]."""
        rows = tf.cast(tf.gather(self._values, places), tf.float32)
        if self._scales is None:
            return rows
        return rows * tf.gather(self._scales, places)[..., tf.newaxis]

    def count(self) -> tf.Tensor:
        """R, int64 []."""
        return tf.raw_ops.VariableShape(input=self._values.handle, out_type=tf.int64)[0]

    @property
    def num_bytes(self) -> int:
        """Bytes of the rows, scales included."""
        return sum(v.dtype.size * int(tf.size(v)) for v in self.variables)


def _quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows int8 [R, D] and their scales float32 [R]."""
    # At least the smallest normal number: a row of zeros is not to be divided by 0.
    scales = np.abs(rows).max(axis=1, initial=0) / np.float32(_LARGEST_INT8)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    finite = np.isfinite(scales)
    steps = np.rint(rows[finite] / scales[finite, None])
    quantised = np.ones(rows.shape, np.int8)
    quantised[finite] = steps.astype(np.int8)
    return quantised, scales
