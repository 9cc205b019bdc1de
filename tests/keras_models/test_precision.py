from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models import training
from keras_models.backbones import Ple
from keras_models.embeddings import DynamicEmbedding, DynamicEmbeddingConfig, MinCount, Policy
from keras_models.losses import TaskLosses
from keras_models.model import RankingModel
from keras_models.precision import precision

B, F, D, N, M, K = 32, 2, 4, 3, 2, 2
PRODUCTS = {"MatMul", "BatchMatMulV2", "Einsum"}


def _model(policy: str = "mixed_bfloat16") -> RankingModel:
    keras.utils.set_random_seed(1)
    with precision(policy):
        return RankingModel(
            tasks=["click", "like"],
            num_numbers=N,
            num_scenarios=M,
            backbone=Ple(K, expert_units=[8]),
            tower_units=[8],
            embedding=DynamicEmbedding(
                DynamicEmbeddingConfig(
                    fields=("a", "b"), dim=D, capacity=64, policy=Policy(admission=MinCount(1))
                )
            ),
        )


def _batch() -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    rng = np.random.default_rng(0)
    features = {
        "keys": tf.constant(rng.integers(0, 20, (B, F))),
        "numbers": tf.constant(rng.normal(size=(B, N)), tf.float32),
        "scenario": tf.constant(rng.integers(0, M, B)),
        "day": tf.zeros([B], tf.int64),
    }
    return features, tf.constant(rng.integers(0, 2, (B, K)), tf.float32)


def _step(model: RankingModel, xla: bool = False) -> training._Step:
    optimizer = keras.optimizers.Adam(0.01)
    return training._Step(
        model, TaskLosses(model.tasks), optimizer, training._State(), seed=1, xla=xla
    )


def test_dense_layers_compute_in_bfloat16_on_float32_weights() -> None:
    model = _model()
    layers = list(model.network._flatten_layers(include_self=False))
    assert len(layers) > 5
    assert {layer.variable_dtype for layer in layers} == {"float32"}
    in_float32 = [layer.name for layer in layers if layer.compute_dtype != "bfloat16"]
    assert in_float32 == ["logit"], "but for the towers' last layer, all compute in bfloat16"
    assert {weight.dtype for weight in model.trainable_variables} == {tf.float32}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_every_product_of_a_step_is_in_the_compute_type(policy: str) -> None:
    features, labels = _batch()
    epoch = tf.constant(0, tf.int64)
    step = _step(_model(policy))
    graph = step._plain.get_concrete_function(features, labels, epoch).graph
    # One product is the embedding's own: it picks the way that holds a key.
    products = [
        op
        for op in graph.get_operations()
        if op.type in PRODUCTS and "MatVec" not in op.name and "logit" not in op.name
    ]
    expected = tf.float32 if policy == "float32" else tf.bfloat16
    assert len(products) > 10
    assert {op.outputs[0].dtype for op in products} == {expected}


def test_embeddings_and_logits_are_float32() -> None:
    model, (features, labels) = _model(), _batch()
    assert model(features).dtype == tf.float32
    embedded, lookup = model.embedding.train_lookup(features["keys"])
    assert model.embedding(features["keys"]).fields.dtype == embedded.fields.dtype == tf.float32
    assert lookup[0].rows.dtype == lookup[0].optimizer.dtype == tf.float32
    with tf.GradientTape() as tape:
        tape.watch(embedded.fields)
        logits, _ = model.network(embedded, features)
        loss = tf.reduce_sum(logits * labels)
    assert logits.dtype == tape.gradient(loss, embedded.fields).dtype == tf.float32


def test_scores_are_close_to_those_of_float32() -> None:
    """A bfloat16 has 8 significant bits: 2^-8 = 0.4% an operation."""
    features, _ = _batch()
    mixed, plain = _model()(features).numpy(), _model("float32")(features).numpy()
    assert 0 < np.abs(mixed - plain).max() < 0.05 * np.abs(plain).max()


@pytest.mark.parametrize("xla", [False, True])
def test_every_step_lowers_the_loss(xla: bool) -> None:
    model, (features, labels) = _model(), _batch()
    step = _step(model, xla)
    run, epoch = step._full if xla else step._plain, tf.constant(0, tf.int64)
    losses = [float(run(features, labels, epoch)[0]) for _ in range(6)]
    assert (np.diff(losses) < 0).all(), losses
    assert {weight.dtype for weight in model.trainable_variables} == {tf.float32}


def test_the_policy_before_comes_back() -> None:
    before = keras.mixed_precision.global_policy()
    with precision("mixed_bfloat16"):
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
        with precision("float32"):
            assert keras.mixed_precision.global_policy().name == "float32"
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    assert keras.mixed_precision.global_policy() == before
    with pytest.raises(RuntimeError, match="inside"), precision("mixed_bfloat16"):
        raise RuntimeError("inside")
    assert keras.mixed_precision.global_policy() == before


def test_an_unknown_policy_changes_nothing() -> None:
    before = keras.mixed_precision.global_policy()
    with pytest.raises(ValueError, match="no_such_type"), precision("no_such_type"):
        pass
    assert keras.mixed_precision.global_policy() == before
