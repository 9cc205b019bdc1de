from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    Embedded,
    ExpireAfter,
    LazyAdam,
    MinCount,
    Policy,
)
from keras_models.embeddings.columns import Columns

FIELDS = ("a", "b", "c", "d")
DIMS = {"a": 2, "b": 3, "c": 2, "d": 1}
"""Three tables: of a and c, of b, and of d."""
WIDTH = sum(DIMS.values())
B = 6
AT_ONCE = Policy(admission=MinCount(1))


def _embedding(dims: dict[str, int] = DIMS, **changes: object) -> DynamicEmbedding:
    config = {"fields": FIELDS, "dim": 2, "dims": dims, "capacity": 64, "policy": AT_ONCE}
    return DynamicEmbedding(DynamicEmbeddingConfig(**{**config, **changes}))


def _keys(seed: int, size: int = B, spread: int = 9) -> np.ndarray:
    """Keys of few values, so that they occur again: in a column and, by chance, in others."""
    return np.random.default_rng(seed).integers(0, spread, (size, len(FIELDS)))


def _by_field(embedded: tf.Tensor) -> dict[str, np.ndarray]:
    parts = np.split(np.asarray(embedded), np.cumsum(list(DIMS.values()))[:-1], axis=1)
    return dict(zip(DIMS, parts, strict=True))


def test_columns_come_back_in_the_order_of_fields() -> None:
    columns = Columns([2, 3, 2, 1])
    keys = tf.constant(_keys(0))
    assert [part.numpy().tolist() for part in columns.split_keys(keys)] == [
        keys.numpy()[:, at].tolist() for at in ([0, 2], [1], [3])
    ]
    a, b, c, d = (np.random.default_rng(f).normal(size=(B, w)) for f, w in enumerate([2, 3, 2, 1]))
    tables = [np.stack([a, c], axis=1), b[:, None], d[:, None]]
    joined = columns.join([tf.constant(table) for table in tables])
    np.testing.assert_array_equal(joined, np.concatenate([a, b, c, d], axis=1))
    for part, table in zip(columns.split_gradients(joined), tables, strict=True):
        np.testing.assert_array_equal(part, table.reshape(-1, table.shape[2]))


def test_columns_of_one_width_stay_as_they_are() -> None:
    columns = Columns([2, 2])
    rows = np.random.default_rng(0).normal(size=(B, 2, 2))
    joined = columns.join([tf.constant(rows)])
    np.testing.assert_array_equal(joined, rows.reshape(B, 4))
    np.testing.assert_array_equal(columns.split_gradients(joined)[0], rows.reshape(2 * B, 2))


@pytest.mark.parametrize("dims", [{}, DIMS])
def test_reads_what_a_training_step_reads(dims: dict[str, int]) -> None:
    embedding = _embedding(dims, policy=Policy(admission=MinCount(4)))
    for seed in range(4):
        embedded, lookup = embedding.train_lookup(tf.constant(_keys(seed)))
        embedding.apply_gradients(lookup, Embedded(tf.cos(embedded.fields)))
    unknown = np.arange(B * len(FIELDS)).reshape(B, -1) + 10**6
    keys = tf.constant(np.concatenate([_keys(0), unknown]))
    for _ in range(4):
        embedding.train_lookup(keys[:B])
    before = embedding(keys).fields
    assert before.shape == (2 * B, 8 if not dims else WIDTH) and before.dtype == tf.float32
    embedded, _ = embedding.train_lookup(keys)
    np.testing.assert_array_equal(embedded.fields, before)
    assert 0 < embedding.statistics()["hits"] < embedding.statistics()["lookups"]


def test_a_call_changes_nothing() -> None:
    embedding = _embedding()
    embedding.train_lookup(tf.constant(_keys(0)))
    before = [variable.numpy() for variable in embedding.variables]
    for seed in range(3):
        embedding(tf.constant(_keys(seed, spread=99)))
    for variable, value in zip(embedding.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)


def test_a_row_learns_from_the_sum_over_all_places_that_read_it() -> None:
    """Against static rows by width and key, which Adagrad moves; keys of two fields among them."""
    embedding = _embedding(optimizer=Adagrad(learning_rate=0.1, initial_accumulator=0.5))
    embedding.train_lookup(tf.constant(np.tile(np.arange(9)[:, None], len(FIELDS))))
    rows: dict[tuple[int, int], np.ndarray] = {}
    squares: dict[tuple[int, int], np.ndarray] = {}
    several = 0
    for seed in range(4):
        keys = _keys(seed)
        embedded, lookup = embedding.train_lookup(tf.constant(keys))
        gradients = np.random.default_rng(seed).normal(size=(B, WIDTH)).astype(np.float32)
        parts, sums, places = _by_field(gradients), {}, {}
        for column, (name, read) in enumerate(_by_field(embedded.fields).items()):
            for example in range(B):
                key = (DIMS[name], int(keys[example, column]))
                if key in rows:
                    np.testing.assert_allclose(read[example], rows[key], atol=1e-6)
                rows.setdefault(key, read[example].astype(np.float64))
                sums[key] = sums.get(key, 0.0) + parts[name][example].astype(np.float64)
                places.setdefault(key, set()).add(name)
        embedding.apply_gradients(lookup, Embedded(tf.constant(gradients)))
        for key, gradient in sums.items():
            squares[key] = squares.get(key, 0.5) + gradient**2
            rows[key] = rows[key] - 0.1 * gradient / np.sqrt(squares[key])
        several += sum(len(names) > 1 for names in places.values())
        for column, (name, read) in enumerate(
            _by_field(embedding(tf.constant(keys)).fields).items()
        ):
            expected = [rows[DIMS[name], key] for key in keys[:, column].tolist()]
            np.testing.assert_allclose(read, expected, atol=1e-6)
    assert several > 3


def test_shared_rows_of_each_field_learn() -> None:
    embedding = _embedding(policy=Policy(admission=MinCount(100)))
    keys = tf.constant(_keys(0))
    before = embedding(keys).fields.numpy()
    _, lookup = embedding.train_lookup(keys)
    # Every key of field f reads one row, so its gradient is the sum of the column: B * (f + 1).
    gradients = np.repeat([1.0, 2.0, 3.0, 4.0], list(DIMS.values()))
    embedding.apply_gradients(lookup, Embedded(tf.constant(np.tile(gradients, (B, 1)), tf.float32)))
    total = B * gradients
    np.testing.assert_allclose(
        embedding(keys).fields, before - 0.05 * total / np.sqrt(0.1 + total**2), atol=1e-6
    )


def test_weight_and_day_reach_every_table() -> None:
    embedding = _embedding(
        policy=Policy(
            admission=MinCount(1), score=DecayedCount(half_life=1e9), expiry=ExpireAfter(5)
        )
    )
    keys = tf.constant([[1, 2, 3, 4]] * 2, tf.int64)
    embedding.train_lookup(keys, weight=tf.constant([2.0, 5.0]), day=tf.constant([7, 3], tf.int64))
    for table in embedding.tables:
        assert int(table.day) == 7
        assert table.live_slots(6.9).shape[0] == len(table.fields)
        assert table.live_slots(7.1).shape[0] == 0
    embedding.train_lookup(keys + 4, day=tf.constant([13, 13], tf.int64))
    assert embedding.statistics()["live_rows"] == len(FIELDS)
    np.testing.assert_array_equal(embedding(keys).fields, embedding(keys + 10**6).fields)


def test_counts_are_summed_and_told_by_field() -> None:
    """Keys below 10 are admitted at their second occurrence, all others are never seen again."""
    embedding = _embedding(policy=Policy(admission=MinCount(2)), capacities={3: 128, 2: 65})
    known = tf.constant([[1, 2, 3, 4]], tf.int64)
    for step in range(3):
        alone = tf.constant([[100, 200, 3, 400]], tf.int64) + step
        keys = tf.concat([known, tf.where(alone < 10, 3, alone)], axis=0)
        embedding.train_lookup(keys)
    assert embedding.hits_by_field() == {"a": 2, "b": 2, "c": 6, "d": 2}
    counts = embedding.statistics()
    assert counts.pop("capacity") == 128 + 72 + 64
    assert counts == {
        "live_rows": 4,
        "admissions": 4,
        "evictions": 0,
        "expirations": 0,
        "lookups": 3 * 2 * len(FIELDS),
        "hits": 12,
    }


def test_rebuilds_from_its_config() -> None:
    policy = Policy(score=DecayedCount(9.0, "days", {"a": math.inf}))
    config = DynamicEmbeddingConfig(
        fields=FIELDS, dims=DIMS, capacity=64, policy=policy, optimizer=LazyAdam(beta_1=0.5)
    )
    first = DynamicEmbedding(config, seed=3, name="rows")
    again = DynamicEmbedding.from_config(first.get_config())
    assert (again.config, again.seed, again.name) == (config, 3, "rows")
    for mine, theirs in zip(again.variables, first.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other = DynamicEmbedding(config, seed=4)
    assert np.abs(other(_keys(0)).fields - first(_keys(0)).fields).max() > 0.01


@pytest.mark.parametrize("dims", [{}, DIMS])
@pytest.mark.parametrize("width", [3, 5])
def test_refuses_a_matrix_of_another_width(width: int, dims: dict[str, int]) -> None:
    embedding = _embedding(dims)
    # 12 rows, so that the keys fill whole rows of any width.
    keys = tf.zeros([12, width], tf.int64)
    for read in (embedding, embedding.train_lookup):
        with pytest.raises(ValueError, match=rf"\[B, 4\].* Received: .*{width}"):
            read(keys)
