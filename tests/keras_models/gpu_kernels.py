"""Which ops of a graph a GPU cannot run, read from TensorFlow's registry of kernels, without a GPU.

What TensorFlow runs for an op is the kernel whose device and types fit. Three kinds fit a GPU:

- `GPU`: all ops that compute.
- `DEFAULT`, which serves every device: what computes nothing (no-ops, function calls,
  `While`, `If`, reading a variable) and arithmetic on int32, which TensorFlow takes for shapes and
  keeps in the host's memory. That it is shapes alone `moved` tells.
- `XLA_GPU_JIT`, in functions that XLA compiles.

So no op is exempt by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.core.framework import kernel_def_pb2, op_def_pb2
from tensorflow.python.framework import kernels

from keras_models import training
from keras_models.losses import TaskLosses
from keras_models.model import RankingModel

needs_registry = pytest.mark.skipif(
    not tf.test.is_built_with_cuda(), reason="this build of TensorFlow registers no GPU kernels"
)


def training_graph(model: RankingModel, *, batch_size: int | None = None) -> tf.Graph:
    """Of a whole training step: XLA compiles what it can where the batch size is known."""
    losses = TaskLosses(model.tasks)
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=1.0)
    xla = batch_size is not None
    step = training._Step(model, losses, optimizer, training._State(), 1, xla, on_gpu=True)
    spec = {**model.feature_spec, "day": tf.TensorSpec([None], tf.int64)}
    features = {
        name: tf.TensorSpec([batch_size, *s.shape[1:]], s.dtype) for name, s in spec.items()
    }
    labels = tf.TensorSpec([batch_size, len(model.tasks)], tf.float32)
    run = step._full if xla else step._plain
    return run.get_concrete_function(features, labels, tf.TensorSpec([], tf.int64)).graph


def for_the_host(graph: tf.Graph) -> list[str]:
    """The ops that have no kernel for a GPU, or are kept off it."""
    return sorted(
        _described(op)
        for op, compiled in operations(graph)
        if _kernel(op, compiled) is None or "CPU" in op.device
    )


def moved(graph: tf.Graph) -> list[str]:
    """The tensors of unknown size that go between the memories of host and GPU."""
    return sorted(
        f"{tensor.dtype.name} {tensor.shape} from {_described(tensor.op)} to {_described(op)}"
        for op, compiled in operations(graph)
        for position, tensor in enumerate(op.inputs)
        if not compiled
        and tensor.dtype != tf.resource
        and not tensor.shape.is_fully_defined()
        and _on_host(op, op.op_def.input_arg, position, tensor)
        != _on_host(tensor.op, tensor.op.op_def.output_arg, tensor.value_index, tensor)
    )


def operations(graph: tf.Graph, compiled: bool = False) -> Iterator[tuple[tf.Operation, bool]]:
    """Every op of a graph and of the functions that it calls, and whether XLA compiles it.

    Placeholders are left out: they stand for a function's arguments.
    """
    for op in graph.get_operations():
        if op.type != "Placeholder":
            yield op, compiled
        inside = compiled or op.node_def.attr["_XlaMustCompile"].b
        for name in _functions(op):
            yield from operations(graph._get_function(name).graph, inside)


def _functions(op: tf.Operation) -> list[str]:
    values = op.node_def.attr.values()
    called = [function for value in values for function in [value.func, *value.list.func]]
    return [function.name for function in called if function.name]


def _kernel(op: tf.Operation, compiled: bool = False) -> kernel_def_pb2.KernelDef | None:
    registered = _registered(op.type)
    for device in ["XLA_GPU_JIT"] if compiled else ["GPU", "DEFAULT"]:
        for kernel in registered:
            if kernel.device_type == device and not kernel.label and _fits(op, kernel):
                return kernel
    return None


@functools.cache
def _registered(op_type: str) -> list[kernel_def_pb2.KernelDef]:
    return list(kernels.get_registered_kernels_for_op(op_type).kernel)


def _fits(op: tf.Operation, kernel: kernel_def_pb2.KernelDef) -> bool:
    attributes = op.node_def.attr
    for constraint in kernel.constraint:
        value = attributes[constraint.name]
        types = set(value.list.type) if value.HasField("list") else {value.type}
        if not types <= set(constraint.allowed_values.list.type):
            return False
    return True


def _on_host(op: tf.Operation, arguments: list, position: int, tensor: tf.Tensor) -> bool:
    """Whether an op takes, or gives, a tensor in the host's memory."""
    if op.type == "Placeholder" or _functions(op):
        return tensor.dtype == tf.int32  # As `_Arg` and `_Retval` do, between functions.
    kernel = _kernel(op)
    assert kernel is not None, _described(op)
    names = [argument.name for argument in arguments for _ in range(_tensors(op, argument))]
    return names[position] in kernel.host_memory_arg


def _tensors(op: tf.Operation, argument: op_def_pb2.OpDef.ArgDef) -> int:
    """How many tensors an argument stands for."""
    if argument.type_list_attr:
        return len(op.get_attr(argument.type_list_attr))
    return op.get_attr(argument.number_attr) if argument.number_attr else 1


def _described(op: tf.Operation) -> str:
    types = ", ".join(
        f"{name}={tf.as_dtype(value.type).name}"
        for name, value in sorted(op.node_def.attr.items())
        if value.HasField("type")
    )
    frames = [frame for frame in op.traceback or [] if "site-packages" not in frame.filename]
    place = f" of {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{op.type} {op.name} ({types}){place}"
