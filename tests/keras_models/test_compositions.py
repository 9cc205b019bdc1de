"""Any backbone with any plug-in: it trains, every weight learns, and it is served as it scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones import BACKBONES
from keras_models.embeddings import (
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    MinCount,
    Policy,
)
from keras_models.heads import EsmmHead
from keras_models.layers import BehaviourSequence, EpNet, Lhuc, MissingValue, PpNet
from keras_models.model import Features, RankingModel
from keras_models.plug_ins import PlugIns
from keras_models.tasks import Task
from keras_models.training import fit

B, N, M, K, D, T, P = 64, 3, 4, 2, 4, 5, 3
FIELDS = ("user", "item", "author", "tab")
TOWER = [6]
GATED = [name for name, kind in BACKBONES.items() if not kind.scores]


def _plug_ins(names: set[str], query: Sequence[str] = ("user",)) -> PlugIns:
    parts: dict[str, Any] = {}
    if "missing_values" in names:
        parts |= {"missing_values": MissingValue()}
    if "behaviour_sequence" in names:
        sequence = BehaviourSequence(units=6, attention_units=4)
        parts |= {"behaviour_sequence": sequence, "query": query}
    if "epnet" in names:
        parts |= {"epnet": EpNet(hidden_units=5), "domain": ["tab"]}
    if "ppnet" in names:
        parts |= {"ppnet": PpNet(K, TOWER, hidden_units=5), "prior": ["user", "item", "author"]}
    if "lhuc" in names:
        parts |= {"lhuc": Lhuc(K, TOWER), "user": "user"}
    return PlugIns(**parts)


def _model(
    backbone: str, *plug_ins: str, esmm: bool = False, query: Sequence[str] = ("user",)
) -> RankingModel:
    keras.utils.set_random_seed(3)
    kind = BACKBONES[backbone]
    context = {"num_scenarios": M, "field_dims": [D] * len(FIELDS)}
    needed = kind.__init__.__annotations__
    tasks = [Task("click"), Task("like", 0.5, after="click" if esmm else None)]
    with_history = "behaviour_sequence" in plug_ins
    return RankingModel(
        tasks=tasks,
        num_numbers=2 * N,
        num_scenarios=M,
        backbone=kind(K, **{name: v for name, v in context.items() if name in needed}),
        tower_units=TOWER,
        embedding=DynamicEmbedding(
            DynamicEmbeddingConfig(
                fields=FIELDS,
                dim=D,
                capacity=512,
                policy=Policy(admission=MinCount(1)),
                history_fields=("item", "author") if with_history else (),
            )
        ),
        head=EsmmHead(tasks) if esmm else None,
        plug_ins=_plug_ins(set(plug_ins), query),
        history=(T, P) if with_history else None,
    )


def _features(model: RankingModel, size: int = B, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, 2, (size, N))
    all_features = {
        "keys": rng.integers(1, 9, (size, len(FIELDS))) + 100 * np.arange(len(FIELDS)),
        "numbers": np.concatenate([rng.normal(size=(size, N)) * masks, masks], 1).astype("float32"),
        "scenario": rng.integers(0, M, size),
        "history_keys": rng.integers(1, 9, (size, T, 2)) + 100 * np.arange(1, 3),
        "history_properties": rng.normal(size=(size, T, P)).astype("float32"),
        "history_length": rng.integers(0, T + 1, size),
    }
    return {name: tf.constant(all_features[name]) for name in model.feature_spec}


def _train(model: RankingModel, folder: Path, xla: bool = False) -> None:
    rng = np.random.default_rng(1)

    def batches(epoch: int) -> tf.data.Dataset:
        features = {**_features(model, 2 * B, epoch), "day": np.zeros(2 * B, np.int64)}
        labels = rng.integers(0, 2, (2 * B, K)).astype("float32")
        labels[:, 1] *= labels[:, 0]
        return tf.data.Dataset.from_tensor_slices((features, labels)).batch(B)

    fit(
        model,
        batches,
        batches(9),
        epochs=1,
        patience=1,
        learning_rate=0.01,
        checkpoint_dir=folder / "checkpoints",
        log_dir=folder / "logs",
        checkpoint_every_steps=100,
        seed=1,
        xla=xla,
    )


def _serves_as_it_scores(model: RankingModel, folder: Path) -> None:
    features = _features(model, 10, seed=5)
    expected = tf.sigmoid(model(features)).numpy()
    module = tf.Module()
    module.model = model.for_serving()
    signature = tf.function(
        lambda **columns: module.model(columns), autograph=False
    ).get_concrete_function(
        **{name: tf.TensorSpec(s.shape, s.dtype, name) for name, s in model.feature_spec.items()}
    )
    tf.saved_model.save(module, str(folder), signatures=signature)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"](**features)
    for k, task in enumerate(model.tasks):
        np.testing.assert_allclose(served[task.name], expected[:, k], atol=1e-5)


def _ranks_as_it_scores(model: RankingModel) -> None:
    """The two halves of a ranking request against rows that hold all."""
    served = model.for_serving(item_fields=["item", "author"])
    features = dict(_features(model, 10, seed=5))
    for name in set(features) - {"keys", "numbers"}:
        features[name] = tf.repeat(features[name][:1], 10, axis=0)
    of_items = {"keys": [1, 2], "numbers": [0, 1, N, N + 1]}
    for name, columns in of_items.items():
        own = np.setdiff1d(np.arange(features[name].shape[1]), columns)
        values = features[name].numpy()
        values[:, own] = values[0, own]
        features[name] = tf.constant(values)
    expected = served(features)

    @tf.function(autograph=False)
    def rank(user: Features, items: Features) -> dict[str, tf.Tensor]:
        return served.score_items(served.user_embedding(user), items)

    user = {name: values[:1].numpy() for name, values in features.items()}
    items = {name: features[name].numpy() for name in of_items}
    # What is not theirs must not count.
    user["keys"][:, 1:3] = -1
    items["keys"][:, [0, 3]] = -1
    items["numbers"][:, [2, N + 2]] = 7.0
    specs = [
        {name: tf.TensorSpec([rows, *values.shape[1:]], values.dtype) for name, values in x.items()}
        for rows, x in ((1, user), (None, items))
    ]
    traced = rank.get_concrete_function(*specs)
    outputs = traced(*({n: tf.constant(v) for n, v in x.items()} for x in (user, items)))
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-6)
    none = traced(
        {n: tf.constant(v) for n, v in user.items()},
        {n: tf.constant(v[:0]) for n, v in items.items()},
    )
    assert all(values.shape == [0] for values in none.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_with_all_plug_ins(backbone: str, tmp_path: Path) -> None:
    gates = ["ppnet"] if backbone in GATED else []
    model = _model(backbone, "missing_values", "behaviour_sequence", "epnet", *gates)
    before = [weight.numpy() for weight in model.trainable_variables]
    _train(model, tmp_path)
    for weight, value in zip(model.trainable_variables, before, strict=True):
        assert np.abs(weight - value).max() > 0, f"{weight.name} did not learn"
    _serves_as_it_scores(model, tmp_path / "served")
    _ranks_as_it_scores(model)


@pytest.mark.parametrize("plug_in", ["lhuc", "missing_values", "epnet", "ppnet"])
def test_each_plug_in_alone_under_xla(plug_in: str, tmp_path: Path) -> None:
    model = _model("ple", plug_in)
    _train(model, tmp_path, xla=True)
    _serves_as_it_scores(model, tmp_path / "served")
    _ranks_as_it_scores(model)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_ranks_as_it_scores(backbone: str) -> None:
    _ranks_as_it_scores(_model(backbone))


def test_candidates_that_ask_the_history() -> None:
    _ranks_as_it_scores(_model("ple", "behaviour_sequence", query=["user", "item"]))


def test_esmm_serves_both_probabilities(tmp_path: Path) -> None:
    model = _model("shared_bottom", esmm=True)
    _train(model, tmp_path)
    _serves_as_it_scores(model, tmp_path / "served")
    outputs = model.for_serving()(_features(model))
    product = outputs["click"] * outputs["like_given_click"]
    np.testing.assert_allclose(outputs["like"], product, atol=1e-6)


def _gradients(model: RankingModel, reads: str) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Of the sum of a named inside, to the embedded fields by name and to all weights."""
    features = _features(model)
    model.embedding.train_lookup(features["keys"])
    embedded = model.embedding(features["keys"])
    with tf.GradientTape() as tape:
        tape.watch(embedded.fields)
        _, inside = model.network(embedded, features)
        total = tf.add_n([tf.reduce_sum(v) for name, v in inside.items() if name.startswith(reads)])
    to_embedded = tape.gradient(total, embedded.fields)
    return dict(zip(FIELDS, tf.split(to_embedded, len(FIELDS), axis=1), strict=True))


def test_epnets_gate_teaches_the_domain_and_no_other_field() -> None:
    gradients = _gradients(_model("ple", "epnet"), "epnet/delta")
    assert np.abs(gradients.pop("tab")).max() > 0
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() == 0, name


def test_ppnets_gates_teach_the_prior_and_no_other_field() -> None:
    gradients = _gradients(_model("ple", "epnet", "ppnet"), "ppnet/")
    assert np.abs(gradients.pop("tab")).max() == 0
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 0, name


def test_the_history_counts() -> None:
    """A behaviour beyond the length changes nothing, one within it does."""
    model = _model("shared_bottom", "behaviour_sequence")
    features = {**_features(model), "history_length": tf.fill([B], tf.constant(3, tf.int64))}
    model.embedding.train_lookup(features["keys"])

    def logits(place: int) -> np.ndarray:
        properties = features["history_properties"].numpy()
        properties[:, place] += 1
        return model({**features, "history_properties": properties}).numpy()

    np.testing.assert_allclose(logits(3), model(features), atol=1e-6)
    assert np.abs(logits(2) - model(features)).max() > 1e-4


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="`ppnet` needs `prior`"):
        PlugIns(ppnet=PpNet(K, TOWER))
    with pytest.raises(ValueError, match="Only one of `ppnet` and `lhuc`"):
        PlugIns(ppnet=PpNet(K, TOWER), prior=["a"], lhuc=Lhuc(K, TOWER), user="a")
    with pytest.raises(ValueError, match="embedded fields, user, item.* Received: nothing"):
        RankingModel(
            tasks=["click"],
            num_numbers=0,
            num_scenarios=M,
            backbone=BACKBONES["ple"](1),
            tower_units=[],
            embedding=DynamicEmbedding(DynamicEmbeddingConfig(fields=FIELDS, capacity=64)),
            plug_ins=PlugIns(epnet=EpNet(), domain=["nothing"]),
        )
