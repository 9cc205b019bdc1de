"""Row optimizers inside a table, against float64 rewrites of the equations in their docstrings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicTable,
    LazyAdam,
    MinCount,
    Policy,
    RowWiseAdagrad,
)
from keras_models.embeddings.dynamic_table import ROW_LIMIT
from keras_models.embeddings.hashing import uniform_rows
from keras_models.embeddings.optimizers import RowOptimizer

F, D = 2, 3
Step = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Row, state and gradient of one row to the row and the state after a step."""


def _adagrad(w: np.ndarray, a: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = a + g**2
    return w - 0.05 * g / np.sqrt(a), a


def _row_wise(w: np.ndarray, a: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = a + np.mean(g**2)
    return w - 0.05 * g / np.sqrt(a), a


def _lazy_adam(w: np.ndarray, state: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m, v, t = state[:D], state[D : 2 * D], state[2 * D] + 1
    m = 0.8 * m + 0.2 * g
    v = 0.99 * v + 0.01 * g**2
    m_hat, v_hat = m / (1 - 0.8**t), v / (1 - 0.99**t)
    return w - 0.05 * m_hat / (np.sqrt(v_hat) + 1e-3), np.concatenate([m, v, [t]])


def _fresh(optimizer: RowOptimizer) -> np.ndarray:
    if isinstance(optimizer, LazyAdam):
        return np.zeros(2 * D + 1)
    return np.full(1 if isinstance(optimizer, RowWiseAdagrad) else D, 0.25)


def _own_part(g: np.ndarray, w: np.ndarray, optimizer: RowOptimizer) -> np.ndarray:
    """The gradient of a row, clipped, and then with that of (l2 / 2) * |row|^2."""
    if optimizer.clip_norm is not None:
        g = g * min(1.0, optimizer.clip_norm / max(np.linalg.norm(g), 1e-30))
    return g + optimizer.l2 * w


@pytest.mark.parametrize("also", [{}, {"l2": 0.3, "clip_norm": 1.5}])
@pytest.mark.parametrize(
    ("kind", "config", "step"),
    [
        (Adagrad, {"initial_accumulator": 0.25}, _adagrad),
        (RowWiseAdagrad, {"initial_accumulator": 0.25}, _row_wise),
        (
            LazyAdam,
            {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
            _lazy_adam,
        ),
    ],
)
def test_follows_its_equations(
    kind: type[RowOptimizer], config: dict, step: Step, also: dict
) -> None:
    """In a table that admits and evicts: rows that a step does not read keep every bit."""
    optimizer = kind(**config, **also)
    policy = Policy(admission=MinCount(2), score=DecayedCount(half_life=50.0))
    table = DynamicTable(dim=D, capacity=64, fields=("a", "b"), policy=policy, optimizer=optimizer)
    train_lookup = tf.function(
        table.train_lookup, [tf.TensorSpec([None, F], tf.int64)], autograph=False
    )
    apply_gradients = tf.function(table.apply_gradients, autograph=False, reduce_retracing=True)
    records = table.records.numpy().astype(np.float64)
    np.testing.assert_array_equal(records[:, D:], np.tile(_fresh(optimizer), (len(records), 1)))
    rng = np.random.default_rng(0)
    read_shared: list[set[int]] = []
    kept_shared = 0
    for number in range(25):
        # Every third step reads known keys only, so that no example reads a shared row.
        known = tf.gather(tf.reshape(table.keys, [-1]), table.live_slots()).numpy()
        pool = known if number % 3 == 2 else np.arange(number * 6, number * 6 + 60)
        keys = rng.choice(pool, (20, F))
        before_keys, before = table.keys.numpy().reshape(-1), table.records.numpy()
        lookup = train_lookup(tf.constant(keys))

        # Newcomers, at places of evicted keys too, start with a fresh row and a fresh state.
        new = np.flatnonzero(table.keys.numpy().reshape(-1) != before_keys)
        new_keys = table.keys.numpy().reshape(-1)[new]
        records[new, :D] = uniform_rows(
            tf.constant(new_keys), D, ROW_LIMIT, table._row_salt
        ).numpy()
        records[new, D:] = _fresh(optimizer)
        np.testing.assert_array_equal(table.records.numpy()[new], records[new].astype(np.float32))

        index, slots = lookup.index.numpy(), lookup.slots.numpy()
        places = rng.normal(size=(len(index), D)).astype(np.float32)
        places[0] = 0.0
        gradients = tf.math.unsorted_segment_sum(places, index, len(slots))
        apply_gradients(lookup, gradients)

        read = sorted(set(index.tolist()))
        for at in read:
            w, state = records[slots[at], :D], records[slots[at], D:]
            g = places[index == at].astype(np.float64).sum(axis=0)
            w, state = step(w, state, _own_part(g, w, optimizer))
            records[slots[at]] = np.concatenate([w, state])
        after = table.records.numpy()[:-1]
        np.testing.assert_allclose(after, records[:-1], rtol=1e-5, atol=1e-6)

        untouched = np.setdiff1d(np.arange(len(after)), [*slots[read], *new])
        np.testing.assert_array_equal(after[untouched], before[untouched])
        shared = {slot - table.capacity for slot in slots[read] if slot >= table.capacity}
        kept_shared += F - len(shared)
        read_shared.append(shared)
    assert set.union(*read_shared) == {0, 1} and kept_shared > F
    assert table.statistics()["evictions"] > 50


def test_lazy_adam_where_all_rows_are_read_is_adam() -> None:
    """Keras adds epsilon to sqrt(v), not to sqrt(v / (1 - beta_2^t)); at 1e-8 it is no matter."""
    table = DynamicTable(
        dim=D,
        capacity=64,
        fields=("a", "b"),
        policy=Policy(admission=MinCount(1)),
        optimizer=LazyAdam(learning_rate=0.01),
    )
    keys = tf.reshape(tf.range(20, dtype=tf.int64), [-1, F])
    lookup = table.train_lookup(keys)
    static = tf.Variable(tf.gather(lookup.rows, lookup.index))
    adam = keras.optimizers.Adam(0.01, epsilon=1e-8)
    rng = np.random.default_rng(0)
    for _ in range(30):
        gradients = tf.constant(rng.normal(size=(20, D)), tf.float32)
        lookup = table.train_lookup(keys)
        size = len(lookup.slots)
        table.apply_gradients(lookup, tf.math.unsorted_segment_sum(gradients, lookup.index, size))
        adam.apply_gradients([(gradients, static)])
    start = uniform_rows(tf.reshape(keys, [-1]), D, ROW_LIMIT, table._row_salt)
    assert np.abs(static - start).max() > 0.05
    np.testing.assert_allclose(tf.reshape(table.lookup(keys), [-1, D]), static, atol=1e-5)


def test_row_wise_adagrad_keeps_one_number_a_row() -> None:
    rows, state = tf.zeros([2, 16]), tf.constant([[1.0], [2.0]])
    _, after = RowWiseAdagrad().step(rows, state, tf.constant([[3.0] * 16, [0.0] * 16]))
    np.testing.assert_allclose(after, [[10.0], [2.0]])


def test_clips_each_row_by_its_own_length() -> None:
    gradients = tf.constant([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    rows = tf.zeros([3, 2])
    moved, squares = Adagrad(clip_norm=1.0).step(rows, tf.ones([3, 2]), gradients)
    np.testing.assert_allclose(squares - 1.0, [[0.36, 0.64], [0.09, 0.16], [0, 0]], atol=1e-6)
    np.testing.assert_array_equal(moved[2], [0.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        (Adagrad, "learning_rate", 0.0, "above 0"),
        (LazyAdam, "learning_rate", float("nan"), "above 0"),
        (LazyAdam, "l2", -0.1, "at least 0"),
        (RowWiseAdagrad, "clip_norm", 0.0, "above 0"),
        (Adagrad, "initial_accumulator", 0.0, "above 0"),
        (RowWiseAdagrad, "initial_accumulator", -1.0, "above 0"),
        (LazyAdam, "beta_1", 1.0, "at least 0 and below 1"),
        (LazyAdam, "beta_2", -0.1, "at least 0 and below 1"),
        (LazyAdam, "epsilon", 0.0, "above 0"),
    ],
)
def test_bad_arguments(kind: type[RowOptimizer], name: str, value: float, expected: str) -> None:
    with pytest.raises(
        ValueError, match=f"`{name}` should be {expected}. Received: {name}={value}"
    ):
        kind(**{name: value})
