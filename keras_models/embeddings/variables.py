"""State of a table: one variable a replica, all with the same values.

Replicas change their copies by the same steps on the same keys, so nothing has to be copied
between them; a checkpoint holds the first one's. The ops work on the local copy's handle.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def table_variable(value: tf.Tensor | np.ndarray, name: str) -> tf.Variable:
    """A variable of a table.

    It is not trainable: the table applies its own optimizer, and none may densify its gradients.
    """
    return tf.Variable(
        value,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def gather(variable: tf.Variable, indices: tf.Tensor) -> tf.Tensor:
    """Rows of a variable, [*indices.shape, *variable.shape[1:]]."""
    return tf.raw_ops.ResourceGather(
        resource=_local(variable).handle, indices=indices, dtype=variable.dtype
    )


def scatter_update(variable: tf.Variable, indices: tf.Tensor, values: tf.Tensor) -> None:
    """Replaces rows; indices that occur twice must come with equal values."""
    tf.raw_ops.ResourceScatterUpdate(
        resource=_local(variable).handle, indices=indices, updates=values
    )


def scatter_add(variable: tf.Variable, indices: tf.Tensor, values: tf.Tensor) -> None:
    """Adds to rows."""
    tf.raw_ops.ResourceScatterAdd(resource=_local(variable).handle, indices=indices, updates=values)


def scatter_max(variable: tf.Variable, indices: tf.Tensor, values: tf.Tensor) -> None:
    """Raises rows to at least the values."""
    tf.raw_ops.ResourceScatterMax(resource=_local(variable).handle, indices=indices, updates=values)


def scatter_nd_update(variable: tf.Variable, indices: tf.Tensor, values: tf.Tensor) -> None:
    """Replaces single values; `indices` int64 [N, rank of the variable], distinct."""
    tf.raw_ops.ResourceScatterNdUpdate(ref=_local(variable).handle, indices=indices, updates=values)


def _local(variable: tf.Variable) -> tf.Variable:
    if tf.distribute.in_cross_replica_context():
        return tf.distribute.get_strategy().experimental_local_results(variable)[0]
    return variable
