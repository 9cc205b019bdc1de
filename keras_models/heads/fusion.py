"""One score to rank by, of all tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf
import tf_keras as keras

LengthFunction = Literal["1", "log1p", "sigmoid", "power"]

SCORE = "score"
"""Name of the output."""

_LEAST = float(np.finfo(np.float32).tiny)


class ScoreFusion(keras.layers.Layer):
    """The log of a product of powers of the tasks' outputs and a function of the video's length.

        score = log (prod_k p_k^w_k * f(length / unit)) = sum_k w_k log p_k + log f(length / unit)

    with f(x) = 1, log(1 + x), sigmoid(x) or x^power, in float32. The order is that by the product,
    which itself would be 0 in float32 from a score of -104 down, and infinite from 89 up. p_k and f
    are held at the least normal float32 (1.2e-38) from below: logits down to -87 make a difference.

    Args:
      weights: w by task; the others do not count. They may be negative.
      length_column: Numeric column that holds the length; None for f = 1.
      length_function: f.
      unit: What the length is divided by.
      power: Exponent, of the function `power`.
      missing_length: What counts as the length of a row that has none, before the division.

    Reference: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, section 3.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        length_column: str | None = None,
        length_function: LengthFunction = "1",
        unit: float = 1.0,
        power: float = 1.0,
        missing_length: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not weights or not all(math.isfinite(weight) for weight in weights.values()):
            raise ValueError(
                f"`weights` should hold a finite number for each of some tasks. Received: {weights}"
            )
        if length_function not in get_args(LengthFunction):
            raise ValueError(
                f"`length_function` should be one of {', '.join(get_args(LengthFunction))}. "
                f"Received: {length_function}"
            )
        if (length_function == "1") != (length_column is None):
            raise ValueError(
                "`length_column` should be given exactly where `length_function` reads it. "
                f"Received: column {length_column}, function {length_function}"
            )
        if not unit > 0:
            raise ValueError(f"`unit` should be above 0. Received: {unit}")
        if not missing_length >= 0:
            raise ValueError(f"`missing_length` should be at least 0. Received: {missing_length}")
        self.weights_by_task = dict(weights)
        self.length_column = length_column
        self.length_function = length_function
        self.unit = unit
        self.power = power
        self.missing_length = missing_length

    def call(self, outputs: Mapping[str, tf.Tensor], length: tf.Tensor | None = None) -> tf.Tensor:
        """Fuses.

        Args:
          outputs: A head's, float32 [B] each; the weighted ones at least 0.
          length: float32 [B], NaN where it is missing; None where f is 1. A negative one counts
            as 0.

        Returns:
          float32 [B].
        """
        total = tf.add_n(
            [weight * _log(outputs[task]) for task, weight in self.weights_by_task.items()]
        )
        if self.length_column is not None:
            if length is None:
                raise ValueError(
                    f"`length` should be column `{self.length_column}`. Received: None"
                )
            length = tf.where(tf.math.is_nan(length), self.missing_length, length)
            log_f = _LOG_FUNCTIONS[self.length_function]
            total += log_f(tf.maximum(length, 0.0) / self.unit, self.power)
        return total

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "weights": self.weights_by_task,
            "length_column": self.length_column,
            "length_function": self.length_function,
            "unit": self.unit,
            "power": self.power,
            "missing_length": self.missing_length,
        }


def _log(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(values, _LEAST))


_LOG_FUNCTIONS: dict[str, Callable[[tf.Tensor, float], tf.Tensor]] = {
    "log1p": lambda x, _: _log(tf.math.log1p(x)),
    "sigmoid": lambda x, _: tf.math.log_sigmoid(x),
    "power": lambda x, power: power * _log(x),
}
