"""Numbers that are none: NaN is missing, as in the logs, and infinite ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf


def finite_numbers(
    values: tf.Tensor, present: tf.Tensor, names: Sequence[str]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads numbers as ingestion does.

    Args:
      values: float32 [B, N]; anything where `present` is false.
      present: bool [B, N].
      names: N columns.

    Returns:
      The values, 0 where one is missing, and where one is there that is not NaN.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if a value is infinite, with the column's name.
    """
    present = present & ~tf.math.is_nan(values)
    found = "found an infinite number; expected a finite one, or none where it is missing, in"
    with refusing(present & tf.math.is_inf(values), found, names):
        return tf.where(present, values, tf.zeros_like(values)), tf.identity(present)


def refusing(is_bad: tf.Tensor, found: str, names: Sequence[str]) -> AbstractContextManager[Any]:
    """A context whose ops run where no number is bad; else there is an InvalidArgumentError.

    Args:
      is_bad: bool [B, N].
      found: What is wrong with those that are.
      names: N columns, of which the error has those with bad numbers.
    """
    columns = tf.boolean_mask(tf.constant(list(names)), tf.reduce_any(is_bad, axis=0))
    # `tf.debugging.Assert` would put it into a branch: more ops for a server to run.
    check = tf.raw_ops.Assert(
        condition=~tf.reduce_any(is_bad), data=[tf.constant(found), columns], summarize=20
    )
    context: AbstractContextManager[Any] = tf.control_dependencies([check])
    return context
