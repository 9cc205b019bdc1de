from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import (
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    DynamicTable,
    Embedded,
    ExpireAfter,
    ExportedEmbedding,
    ExportedTable,
    MinCount,
    Policy,
)

FIELDS = ("a", "b", "c")
F, D = 3, 4
AT_ONCE = Policy(admission=MinCount(1))


def _table(policy: Policy = AT_ONCE) -> DynamicTable:
    return DynamicTable(dim=D, capacity=64, fields=FIELDS, policy=policy)


def _train(table: DynamicTable, steps: int) -> np.ndarray:
    """Trains a table, and gives keys that it knows and does not know."""
    train_lookup = tf.function(table.train_lookup, autograph=False)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        lookup = train_lookup(tf.constant(rng.integers(-60, 60, (9, F))))
        table.apply_gradients(lookup, tf.random.stateless_normal(lookup.rows.shape, [1, 2]))
    odd = [[0, -1, 1], [np.iinfo(np.int64).min, np.iinfo(np.int64).max, 10**6]]
    return np.concatenate([rng.integers(-70, 70, (200, F)), odd])


def _read(table: DynamicTable, keys: list[int], times: int = 1, day: int = 0) -> None:
    """A step that reads keys of the first field; -1 fills up the others."""
    matrix = np.array([[key, -1, -1] for key in keys] * times)
    table.train_lookup(tf.constant(matrix), day=tf.fill([len(matrix)], tf.constant(day, tf.int64)))


def _serves_own_row(exported: ExportedTable, keys: list[int]) -> list[bool]:
    """Whether the keys, in the first field, read something else than its shared row."""
    rows = exported.lookup(tf.constant([[key, -1, -1] for key in keys], tf.int64))[:, 0]
    shared = exported.lookup(tf.constant([[10**9, -1, -1]], tf.int64))[:, 0]
    return [bool((row != shared[0].numpy()).any()) for row in rows.numpy()]


@pytest.mark.parametrize("steps", [0, 20])
def test_reads_the_same_rows(steps: int) -> None:
    table = _table()
    keys = _train(table, steps)
    exported = ExportedTable(table)
    expected = table.lookup(tf.constant(keys)).numpy()
    np.testing.assert_array_equal(exported.lookup(tf.constant(keys)), expected)
    assert exported.num_keys == table.statistics()["live_rows"]
    unknown = table.find(tf.constant(keys.reshape(-1))).numpy().reshape(-1, F) < 0
    assert unknown.any() and unknown.all() == (steps == 0)
    shared = np.broadcast_to(table.shared_rows(), expected.shape)
    np.testing.assert_array_equal(expected[unknown], shared[unknown])


def test_is_a_copy() -> None:
    table = _table()
    keys = _train(table, 20)
    exported = ExportedTable(table)
    expected = exported.lookup(tf.constant(keys)).numpy()
    table.records.assign(tf.zeros_like(table.records))
    table.keys.assign(tf.zeros_like(table.keys))
    np.testing.assert_array_equal(exported.lookup(tf.constant(keys)), expected)


def test_keys_below_the_serving_score_read_the_shared_row() -> None:
    table = _table(Policy(admission=MinCount(1), score=DecayedCount(half_life=12.0)))
    _read(table, [11], times=4)
    _read(table, [22], times=2)
    _read(table, [33], times=1)
    # A step's occurrences have the age of its last example, so the scores are
    # 4 * 2^(-3 / 12) = 3.36, 2 * 2^(-1 / 12) = 1.89 and 1.
    keys = [11, 22, 33]
    for min_score, served in [
        (0.0, [True, True, True]),
        (0.99, [True, True, True]),
        (1.01, [True, True, False]),
        (1.88, [True, True, False]),
        (1.90, [True, False, False]),
        (3.35, [True, False, False]),
        (3.38, [False, False, False]),
    ]:
        exported = ExportedTable(table, min_score)
        assert _serves_own_row(exported, keys) == served, min_score
        # -1 is above them all.
        assert exported.num_keys == sum(served) + 1
    # The trained table serves them all: the cut is the export's alone.
    assert table.statistics()["live_rows"] == 4
    served = ExportedTable(table, 1.90).lookup(tf.constant([[11, -1, -1]], tf.int64))
    np.testing.assert_array_equal(served, table.lookup(tf.constant([[11, -1, -1]], tf.int64)))


def test_pinned_rows_are_always_served() -> None:
    table = _table(
        Policy(
            admission=MinCount(3),
            score=DecayedCount(half_life=1.0, weights={"a": math.inf}),
            expiry=ExpireAfter(1),
        )
    )
    _read(table, [11])
    for day in range(2, 5):
        _read(table, [22], times=40, day=day)
    exported = ExportedTable(table, min_score=1e30)
    assert exported.num_keys == 2
    assert _serves_own_row(exported, [11, 22, 33]) == [True, True, False]


def test_expired_rows_are_not_served() -> None:
    table = _table(Policy(admission=MinCount(1), expiry=ExpireAfter(3)))
    _read(table, [11], times=9, day=1)
    _read(table, [22], day=2)
    _read(table, [33], day=5)
    # On day 5, 11 was read 4 days ago and 22 3 days ago.
    exported = ExportedTable(table)
    assert _serves_own_row(exported, [11, 22, 33]) == [False, True, True]
    assert exported.num_keys == table.statistics()["live_rows"] == 3


def _save(module: tf.Module, path: Path) -> None:
    """Saves a module with a `lookup` of [B, F] keys as its signature."""
    signature = tf.function(
        lambda keys: {"rows": module.embedding(keys).fields}, [tf.TensorSpec([None, F], tf.int64)]
    )
    tf.saved_model.save(module, str(path), signatures=signature)


def _embedding(serving_min_score: float = 0.0) -> tuple[DynamicEmbedding, np.ndarray]:
    """A trained layer of two widths, and keys that it knows and does not know."""
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(
            fields=FIELDS,
            dim=D,
            dims={"b": 2},
            capacity=64,
            policy=AT_ONCE,
            serving_min_score=serving_min_score,
        )
    )
    rng = np.random.default_rng(0)
    for _ in range(10):
        embedded, lookup = embedding.train_lookup(tf.constant(rng.integers(-30, 30, (9, F))))
        embedding.apply_gradients(lookup, Embedded(tf.cos(embedded.fields)))
    return embedding, rng.integers(-40, 40, (200, F))


def test_an_embedding_of_two_widths_reads_the_same_rows() -> None:
    embedding, keys = _embedding()
    exported = ExportedEmbedding(embedding)
    keys = tf.constant(keys)
    np.testing.assert_array_equal(exported(keys).fields, embedding(keys).fields)


def test_an_embedding_is_cut_by_its_own_serving_score() -> None:
    embedding, keys = _embedding(serving_min_score=2.5)
    exported = ExportedEmbedding(embedding)
    for table, small in zip(embedding.tables, exported.tables, strict=True):
        assert small.num_keys == ExportedTable(table, 2.5).num_keys
        assert 0 < small.num_keys < table.statistics()["live_rows"]
    read, everything = (form(tf.constant(keys)).fields.numpy() for form in (exported, embedding))
    same = (read == everything).all(axis=1)
    assert 0 < same.sum() < len(keys)


@pytest.mark.parametrize("trained", [False, True])
def test_saved_model_loads_in_tf2_and_in_a_session(tmp_path: Path, trained: bool) -> None:
    embedding, keys = _embedding()
    if not trained:
        embedding = DynamicEmbedding(embedding.config)
    expected = embedding(tf.constant(keys)).fields.numpy()
    module = tf.Module()
    module.embedding = ExportedEmbedding(embedding)
    assert all((table.num_keys > 0) == trained for table in module.embedding.tables)
    _save(module, tmp_path)

    loaded = tf.saved_model.load(str(tmp_path))
    read = loaded.signatures["serving_default"](keys=tf.constant(keys))["rows"]
    np.testing.assert_array_equal(read, expected)

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        read = session.run(signature.outputs["rows"].name, {signature.inputs["keys"].name: keys})
    np.testing.assert_array_equal(read, expected)


def test_keys_and_rows_are_variables_and_not_constants(tmp_path: Path) -> None:
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(fields=FIELDS, dim=64, capacity=1 << 13, policy=AT_ONCE)
    )
    embedding.train_lookup(tf.reshape(tf.range(3 * 2000, dtype=tf.int64), [-1, F]))
    module = tf.Module()
    module.embedding = ExportedEmbedding(embedding)
    _save(module, tmp_path)
    (table,) = module.embedding.tables
    assert table.num_keys > 5000
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "variables/variables"))]
    assert sum("/keys/" in name or "/rows/" in name for name in names) == 2
    weights = sum(file.stat().st_size for file in (tmp_path / "variables").iterdir())
    assert weights > 5000 * (64 * 4 + 8)
    assert (tmp_path / "saved_model.pb").stat().st_size < 200_000
