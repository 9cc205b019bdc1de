from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones import Ple
from keras_models.embeddings import (
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    Embedded,
    MinCount,
    Policy,
)
from keras_models.model import RankingModel
from keras_models.tasks import Task

B, F, D, N, M, K = 8, 3, 4, 2, 5, 2
EMBEDDING = DynamicEmbeddingConfig(
    fields=("a", "b", "c"), dim=D, capacity=64, policy=Policy(admission=MinCount(1))
)


def _model(**changes: object) -> RankingModel:
    config = {
        "tasks": ["click", Task("like", 0.5)],
        "num_numbers": N,
        "num_scenarios": M,
        "backbone": Ple(K, expert_units=[6]),
        "tower_units": [5],
        "embedding": DynamicEmbedding(EMBEDDING),
    }
    return RankingModel(**{**config, **changes})


def _features(size: int = B) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "keys": tf.constant(rng.integers(0, 9, (size, F))),
        "numbers": tf.constant(rng.normal(size=(size, N)), tf.float32),
        "scenario": tf.constant(rng.integers(0, M, size)),
    }


def _with_rows(model: RankingModel) -> RankingModel:
    """The model after its table admitted some of the keys."""
    model.embedding.train_lookup(_features()["keys"][:4])
    return model


def test_tasks_keep_their_order_and_weights() -> None:
    assert _model().tasks == (Task("click", 1.0), Task("like", 0.5))


def test_embeds_concatenates_and_scores() -> None:
    model, features = _with_rows(_model()), _features()
    logits = model(features)
    assert logits.shape == (B, K) and logits.dtype == tf.float32
    inputs = np.concatenate(
        [
            model.embedding(features["keys"]).fields,
            features["numbers"],
            np.eye(M)[features["scenario"]],
        ],
        axis=1,
    )
    network = model.network
    hidden, _, gates = network._backbone(tf.constant(inputs, tf.float32), features["scenario"])
    np.testing.assert_allclose(logits, network._tower(hidden), atol=1e-6)
    named = model.intermediates(features)
    assert named.keys() == gates.keys()
    np.testing.assert_allclose(named["level_1/shared_gate"], gates["level_1/shared_gate"], 1e-5)


def test_scoring_changes_no_state() -> None:
    model, features = _with_rows(_model()), _features()
    before = [variable.numpy() for variable in model.variables]
    model(features)
    model.intermediates(features)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_every_trainable_weight_and_the_embeddings_get_a_gradient() -> None:
    model, features = _with_rows(_model()), _features(256)
    embedded = model.embedding(features["keys"]).fields
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        logits, _ = model.network(Embedded(embedded), features)
        loss = tf.reduce_sum(logits**2)
    gradients = tape.gradient(loss, [embedded, *model.trainable_variables])
    for variable, gradient in zip(["embedded", *model.trainable_variables], gradients, strict=True):
        assert gradient is not None and float(tf.reduce_max(tf.abs(gradient))) > 0, variable


def test_embeddings_are_not_trained_by_the_dense_optimizer() -> None:
    model = _model()
    owned = {id(variable) for variable in model.embedding.variables}
    assert not owned & {id(variable) for variable in model.trainable_variables}
    assert owned < {id(variable) for variable in model.variables}


def test_dropout_depends_on_its_seed_alone() -> None:
    model, features = _model(dropout=0.5), _features()
    embedded = model.embedding(features["keys"])

    def logits(seed: list[int] | None) -> np.ndarray:
        return model.network(
            embedded,
            features,
            dropout_seed=None if seed is None else tf.constant(seed),
        )[0].numpy()

    np.testing.assert_array_equal(logits([1, 2]), logits([1, 2]))
    assert np.abs(logits([1, 2]) - logits([1, 3])).max() > 0
    np.testing.assert_array_equal(logits(None), model(features))


def test_the_seed_before_makes_the_weights() -> None:
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(np.concatenate([w.numpy().ravel() for w in _model().trainable_weights]))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0.1


def test_for_serving_gives_the_same_scores(tmp_path: Path) -> None:
    model, features = _with_rows(_model()), _features()
    expected = model(features).numpy()
    served = model.for_serving()
    probabilities = np.stack(list(served(features).values()), axis=1)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-6)

    module = tf.Module()
    module.model = served
    module.score = tf.function(
        lambda keys, numbers, scenario: module.model(
            {"keys": keys, "numbers": numbers, "scenario": scenario}
        ),
        [
            tf.TensorSpec([None, F], tf.int64, "keys"),
            tf.TensorSpec([None, N], tf.float32, "numbers"),
            tf.TensorSpec([None], tf.int64, "scenario"),
        ],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.score)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        scores = session.run(
            [signature.outputs[task.name].name for task in model.tasks],
            {signature.inputs[name].name: value.numpy() for name, value in features.items()},
        )
    np.testing.assert_allclose(np.stack(scores, axis=1), probabilities, atol=1e-6)


def test_numbers_may_be_absent() -> None:
    model = _model(num_numbers=0)
    assert model({**_features(), "numbers": tf.zeros([B, 0])}).shape == (B, K)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, I\]. Received: shape"):
        _model(tasks=["a", "b", "c"])
    with pytest.raises(ValueError, match="each task once. Received: a, b, a"):
        _model(tasks=["a", "b", "a"])
