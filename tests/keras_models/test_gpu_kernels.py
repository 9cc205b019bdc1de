"""A whole training step can stay on the GPU: forward, backward, Adam, embeddings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones import HiNet, Mmoe, Ple
from keras_models.embeddings import DynamicEmbedding, DynamicEmbeddingConfig
from keras_models.layers import EpNet, PpNet
from keras_models.model import RankingModel
from keras_models.plug_ins import PlugIns
from keras_models.precision import precision
from keras_models.tasks import Task

from . import gpu_kernels

pytestmark = gpu_kernels.needs_registry

B, K, M, N, TOWER = 16, 2, 3, 2, [8]


def _ple() -> RankingModel:
    return _model(Ple(K, levels=2, expert_units=[16, 8]))


def _hinet() -> RankingModel:
    backbone = HiNet(K, num_scenarios=M, sub_expert_units=[16, 8], expert_units=[16, 8])
    return _model(backbone)


def _pepnet() -> RankingModel:
    towers = PpNet(K, TOWER)
    plug_ins = PlugIns(epnet=EpNet(), domain=["tab"], ppnet=towers, prior=["user", "item"])
    return _model(Mmoe(K, num_experts=3, expert_units=[16]), plug_ins)


def _model(backbone: keras.layers.Layer, plug_ins: PlugIns | None = None) -> RankingModel:
    embedding = DynamicEmbeddingConfig(fields=("user", "item", "tab"), dim=4, capacity=64)
    return RankingModel(
        tasks=[Task("click"), Task("like", 0.5)],
        num_numbers=2 * N,
        num_scenarios=M,
        backbone=backbone,
        tower_units=TOWER,
        dropout=0.1,
        embedding=DynamicEmbedding(embedding, dtype="float32"),
        plug_ins=plug_ins,
    )


MODELS: dict[str, Callable[[], RankingModel]] = {"ple": _ple, "hinet": _hinet, "pepnet": _pepnet}


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16", "xla"])
def policy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=MODELS)
def graph(request: pytest.FixtureRequest, policy: str) -> tf.Graph:
    with precision("float32" if policy == "xla" else policy):
        model = MODELS[request.param]()
    return gpu_kernels.training_graph(model, batch_size=B if policy == "xla" else None)


def test_every_op_has_a_gpu_kernel(graph: tf.Graph) -> None:
    assert gpu_kernels.for_the_host(graph) == []


def test_nothing_of_the_size_of_a_batch_leaves_the_gpu(graph: tf.Graph) -> None:
    assert gpu_kernels.moved(graph) == []


def test_forward_backward_adam_and_embedding_are_looked_at(graph: tf.Graph) -> None:
    found = {op.type for op, _ in gpu_kernels.operations(graph)}
    embedding = {"UniqueWithCounts", "UnsortedSegmentSum", "ResourceScatterUpdate"}
    assert {"MatMul", "Exp", "Relu", "ReluGrad", "Sqrt"} | embedding <= found


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
    lines = gpu_kernels.for_the_host(traced.get_concrete_function().graph)
    assert any(line.startswith(f"{found} ") for line in lines), lines


def test_int32_of_the_size_of_a_batch_is_found() -> None:
    """Its sum has a kernel for GPUs, which works in the host's memory."""

    def positions(keys: tf.Tensor) -> tf.Tensor:
        _, position = tf.unique(keys)
        return tf.gather(keys, position + 1)

    traced = tf.function(positions, [tf.TensorSpec([None], tf.int64)], autograph=False)
    graph = traced.get_concrete_function().graph
    assert gpu_kernels.for_the_host(graph) == []
    assert [line.split(" from ")[0] for line in gpu_kernels.moved(graph)] == ["int32 (None,)"] * 2


def test_lists_of_tensors_are_told_apart() -> None:
    """`IdentityN` takes tensors of different types, `Pack` several of one."""

    @tf.custom_gradient
    def both(keys: tf.Tensor, rows: tf.Tensor) -> tuple:
        return (keys + 1, 2.0 * rows), lambda *gradients: gradients

    def stacked(keys: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        more, doubled = both(keys, rows)
        return tf.stack([tf.cast(more, tf.float32), doubled])

    spec = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.float32)]
    graph = tf.function(stacked, spec, autograph=False).get_concrete_function().graph
    assert {"IdentityN", "Pack"} <= {op.type for op, _ in gpu_kernels.operations(graph)}
    assert gpu_kernels.for_the_host(graph) == gpu_kernels.moved(graph) == []
