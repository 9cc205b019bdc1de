"""A training step can stay on the GPU: read from TensorFlow's registry of kernels, without a GPU.

What TensorFlow runs for an op is the kernel whose device and types fit. Three kinds fit a GPU:

- `GPU`: all ops that compute.
- `DEFAULT`, which serves every device: what computes nothing (no-ops, function calls,
  `While`, `If`, reading a variable) and arithmetic on int32, which TensorFlow takes for shapes and
  keeps in the host's memory. That it is shapes alone is tested too.
- `XLA_GPU_JIT`, in functions that XLA compiles.

So no op is exempt by its name.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.core.framework import kernel_def_pb2
from tensorflow.python.framework import kernels

from keras_models import training
from keras_models.backbones import Ple
from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExpireAfter,
    FieldQuotas,
    LazyAdam,
    MinCount,
    Policy,
    RowWiseAdagrad,
)
from keras_models.embeddings.optimizers import RowOptimizer
from keras_models.model import RankingModel
from keras_models.precision import precision
from keras_models.tasks import Task

pytestmark = pytest.mark.skipif(
    not tf.test.is_built_with_cuda(), reason="this build of TensorFlow registers no GPU kernels"
)

HOST_ONLY: frozenset[str] = frozenset()
"""Ops of the step that may run on the host."""

F, K, N, B = 3, 2, 2, 16
EVERYTHING = Policy(
    admission=MinCount(2),
    score=DecayedCount(7.0, "days", {"a": math.inf, "b": 2.0}),
    expiry=ExpireAfter(3),
    quotas=FieldQuotas({"b": 0.5}),
)


def _model(policy: Policy, optimizer: RowOptimizer) -> RankingModel:
    embedding = DynamicEmbeddingConfig(
        fields=("a", "b", "c"),
        dim=4,
        dims={"c": 8},
        capacity=64,
        policy=policy,
        optimizer=optimizer,
    )
    return RankingModel(
        tasks=[Task("click", engagement=2.0 if policy is EVERYTHING else 0.0), Task("like", 0.5)],
        num_numbers=N,
        num_scenarios=2,
        backbone=Ple(K, levels=1, expert_units=[16]),
        tower_units=[8],
        dropout=0.2,
        embedding=DynamicEmbedding(embedding),
    )


def _step(model: RankingModel, xla: bool = False) -> tf.Graph:
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    step = training._Step(model, optimizer, training._State(), seed=1, xla=xla)
    if not xla:
        return step._plain.get_concrete_function().graph
    spec = {**model.feature_spec, "day": tf.TensorSpec([None], tf.int64)}
    features = {name: tf.zeros([B, *s.shape[1:]], s.dtype) for name, s in spec.items()}
    return step._full.get_concrete_function(features, tf.zeros([B, K])).graph


VARIANTS: dict[str, Callable[[], tf.Graph]] = {
    "adagrad": lambda: _step(_model(EVERYTHING, Adagrad(l2=1e-4, clip_norm=1.0))),
    "row_wise_adagrad": lambda: _step(_model(EVERYTHING, RowWiseAdagrad())),
    "lazy_adam": lambda: _step(_model(EVERYTHING, LazyAdam())),
    "default_policy": lambda: _step(_model(Policy(), Adagrad())),
    "bfloat16": lambda: _step(_bfloat16_model()),
    "xla": lambda: _step(_model(EVERYTHING, Adagrad()), xla=True),
    "scoring": lambda: _scoring(_model(EVERYTHING, Adagrad())),
}


def _bfloat16_model() -> RankingModel:
    with precision("mixed_bfloat16"):
        return _model(EVERYTHING, Adagrad())


def _scoring(model: RankingModel) -> tf.Graph:
    return (
        tf.function(model.call, [model.feature_spec], autograph=False).get_concrete_function().graph
    )


@pytest.fixture(scope="module", params=VARIANTS)
def graph(request: pytest.FixtureRequest) -> tf.Graph:
    return VARIANTS[request.param]()


def _operations(graph: tf.Graph, compiled: bool = False) -> Iterator[tuple[tf.Operation, bool]]:
    """Every op of a graph and of the functions that it calls, and whether XLA compiles it.

    Placeholders are left out: they stand for a function's arguments.
    """
    for op in graph.get_operations():
        if op.type != "Placeholder":
            yield op, compiled
        inside = compiled or op.node_def.attr["_XlaMustCompile"].b
        for name in _functions(op):
            yield from _operations(graph._get_function(name).graph, inside)


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


def _for_the_host(graph: tf.Graph) -> list[str]:
    """The ops that have no kernel for a GPU, or are kept off it."""
    return sorted(
        _described(op)
        for op, compiled in _operations(graph)
        if op.type not in HOST_ONLY and (_kernel(op, compiled) is None or "CPU" in op.device)
    )


def _moved(graph: tf.Graph) -> list[str]:
    """The tensors of unknown size that go between the memories of host and GPU."""
    return sorted(
        f"{tensor.dtype.name} {tensor.shape} from {_described(tensor.op)} to {_described(op)}"
        for op, compiled in _operations(graph)
        for position, tensor in enumerate(op.inputs)
        if not compiled
        and tensor.dtype != tf.resource
        and not tensor.shape.is_fully_defined()
        and _on_host(op, op.op_def.input_arg, position, tensor)
        != _on_host(tensor.op, tensor.op.op_def.output_arg, tensor.value_index, tensor)
    )


def _on_host(op: tf.Operation, arguments: list, position: int, tensor: tf.Tensor) -> bool:
    """Whether an op takes, or gives, a tensor in the host's memory."""
    if op.type == "Placeholder" or _functions(op):
        return tensor.dtype == tf.int32  # As `_Arg` and `_Retval` do, between functions.
    kernel = _kernel(op)
    assert kernel is not None, _described(op)
    sizes = [op.get_attr(arg.number_attr) if arg.number_attr else 1 for arg in arguments]
    names = [arg.name for arg, size in zip(arguments, sizes, strict=True) for _ in range(size)]
    return names[position] in kernel.host_memory_arg


def _described(op: tf.Operation) -> str:
    types = ", ".join(
        f"{name}={tf.as_dtype(value.type).name}"
        for name, value in sorted(op.node_def.attr.items())
        if value.HasField("type")
    )
    frames = [frame for frame in op.traceback or [] if "site-packages" not in frame.filename]
    place = f" of {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{op.type} {op.name} ({types}){place}"


def test_every_op_has_a_gpu_kernel(graph: tf.Graph) -> None:
    assert _for_the_host(graph) == []


def test_nothing_of_the_size_of_a_batch_leaves_the_gpu(graph: tf.Graph) -> None:
    assert _moved(graph) == []


def test_the_whole_step_is_looked_at() -> None:
    """Bodies of loops and conditions as well: `_place`'s rounds and the rescaling of scores."""
    operations = list(_operations(VARIANTS["xla"]()))
    plain = Counter(op.type for op, compiled in operations if not compiled)
    assert min(plain["While"], plain["If"]) >= 2
    for inside in ("ArgMin", "UnsortedSegmentMin", "ResourceScatterMax", "Maximum"):
        assert plain[inside] >= 2, inside
    compiled = Counter(op.type for op, compiled in operations if compiled)
    assert compiled["BatchMatMulV2"] + compiled["MatMul"] + compiled["Einsum"] >= 4
    assert compiled["ArgMin"] == 0


def _with_a_lookup_table(keys: tf.Tensor) -> tf.Tensor:
    """As a dynamic embedding could be: on a hash table of TensorFlow's own, deep inside."""
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)

    def body(count: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        looked_up = tf.cond(count > 1, lambda: table.lookup(keys), lambda: keys)
        return count + 1, looked_up + found

    return tf.while_loop(lambda count, _: count < 3, body, (tf.constant(0), keys))[1]


def _of_a_type_without_kernel(keys: tf.Tensor) -> tf.Tensor:
    return tf.argmax(tf.cast(keys, tf.uint8))


def _kept_on_the_host(keys: tf.Tensor) -> tf.Tensor:
    with tf.device("/CPU:0"):
        return keys + 1


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (_with_a_lookup_table, "LookupTableFindV2"),
        (_of_a_type_without_kernel, "ArgMax"),
        (_kept_on_the_host, "AddV2"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_a_gpu_cannot_run_is_found(
    function: Callable[[tf.Tensor], tf.Tensor], found: str, nested: bool
) -> None:
    traced = tf.function(function, [tf.TensorSpec([None], tf.int64)], autograph=False)
    if nested:
        inner = traced
        traced = tf.function(lambda keys: inner(keys), inner.input_signature, autograph=False)
    lines = _for_the_host(traced.get_concrete_function().graph)
    assert any(line.startswith(f"{found} ") for line in lines), lines


def test_int32_of_the_size_of_a_batch_is_found() -> None:
    """Its sum has a kernel for GPUs, which works in the host's memory."""

    def positions(keys: tf.Tensor) -> tf.Tensor:
        _, position = tf.unique(keys)
        return tf.gather(keys, position + 1)

    traced = tf.function(positions, [tf.TensorSpec([None], tf.int64)], autograph=False)
    graph = traced.get_concrete_function().graph
    assert _for_the_host(graph) == []
    assert [line.split(" from ")[0] for line in _moved(graph)] == ["int32 (None,)"] * 2
