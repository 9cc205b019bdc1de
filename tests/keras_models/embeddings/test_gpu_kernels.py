"""What a dynamic embedding does in a training step can stay on the GPU, whatever its options."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest
import tensorflow as tf

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

from .. import gpu_kernels

pytestmark = gpu_kernels.needs_registry

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


VARIANTS: dict[str, Callable[[], tf.Graph]] = {
    "adagrad": lambda: gpu_kernels.training_graph(
        _model(EVERYTHING, Adagrad(l2=1e-4, clip_norm=1.0))
    ),
    "row_wise_adagrad": lambda: gpu_kernels.training_graph(_model(EVERYTHING, RowWiseAdagrad())),
    "lazy_adam": lambda: gpu_kernels.training_graph(_model(EVERYTHING, LazyAdam())),
    "default_policy": lambda: gpu_kernels.training_graph(_model(Policy(), Adagrad())),
    "bfloat16": lambda: gpu_kernels.training_graph(_bfloat16_model()),
    "xla": lambda: gpu_kernels.training_graph(_model(EVERYTHING, Adagrad()), batch_size=B),
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


def test_every_op_has_a_gpu_kernel(graph: tf.Graph) -> None:
    assert gpu_kernels.for_the_host(graph) == []


def test_nothing_of_the_size_of_a_batch_leaves_the_gpu(graph: tf.Graph) -> None:
    assert gpu_kernels.moved(graph) == []


def test_the_whole_step_is_looked_at() -> None:
    """Bodies of loops and conditions as well: `_place`'s rounds and the rescaling of scores."""
    operations = list(gpu_kernels.operations(VARIANTS["xla"]()))
    plain = Counter(op.type for op, compiled in operations if not compiled)
    assert min(plain["While"], plain["If"]) >= 2
    for inside in ("ArgMin", "UnsortedSegmentMin", "ResourceScatterMax", "Maximum"):
        assert plain[inside] >= 2, inside
    compiled = Counter(op.type for op, compiled in operations if compiled)
    assert compiled["BatchMatMulV2"] + compiled["MatMul"] + compiled["Einsum"] >= 4
    assert compiled["ArgMin"] == 0
