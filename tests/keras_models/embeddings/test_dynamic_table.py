"""The table against a plain model of it, and against what its docstring promises."""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicTable,
    ExpireAfter,
    FieldQuotas,
    MinCount,
    Policy,
)
from keras_models.embeddings.dynamic_table import ROW_LIMIT, TableLookup
from keras_models.embeddings.hashing import uniform_rows

from .reference_table import (
    WAYS,
    ReferenceTable,
    crowd,
    flushed,
    known,
    slots_of,
    train,
    two_buckets,
)

FIELDS = "abc"
F, D = len(FIELDS), 4
INT64 = np.iinfo(np.int64)
ODD_KEYS = [0, -1, 1, int(INT64.min), int(INT64.max)]
LONG = 1e12
"""A half-life that lets nothing fade."""
AT_ONCE = Policy(MinCount(1), DecayedCount(LONG))
_TINY = np.finfo(np.float32).tiny


def _table(policy: Policy, capacity: int = 64) -> DynamicTable:
    return DynamicTable(dim=D, capacity=capacity, fields=FIELDS, policy=policy)


def _fresh(table: DynamicTable, keys: np.ndarray | list[int]) -> np.ndarray:
    """The records of keys whose rows have just begun."""
    rows = uniform_rows(tf.constant(keys, tf.int64), D, ROW_LIMIT, table._row_salt).numpy()
    return np.concatenate([rows, np.full_like(rows, 0.1)], axis=1)


def _every_key(keys: list[int]) -> np.ndarray:
    """A [B, F] matrix that holds each key once, filled up with the last one."""
    padded = keys + keys[-1:] * (-len(keys) % F)
    return np.array(padded, np.int64).reshape(-1, F)


# Random streams.


class _Setup(NamedTuple):
    policy: Policy
    capacity: int = 64
    weighted: bool = False


_WEIGHTS = {"a": 2.5, "c": math.inf}
SETUPS = {
    "all": _Setup(AT_ONCE),
    "twice": _Setup(Policy(MinCount(2), DecayedCount(40.0)), 72, weighted=True),
    "fading": _Setup(Policy(MinCount(3), DecayedCount(0.3)), 104),
    "days": _Setup(Policy(MinCount(2), DecayedCount(1.5, "days"), expiry=ExpireAfter(2)), 72),
    "quotas": _Setup(Policy(MinCount(1), DecayedCount(LONG), quotas=FieldQuotas({"a": 0.3}))),
    "pinned": _Setup(Policy(MinCount(2), DecayedCount(0.3, weights=_WEIGHTS)), weighted=True),
    "expiry": _Setup(
        Policy(
            MinCount(1),
            DecayedCount(40.0),
            expiry=ExpireAfter(1),
            quotas=FieldQuotas({"a": 0.01, "c": 0.5}),
        ),
    ),
    "everything": _Setup(
        Policy(
            MinCount(2),
            DecayedCount(0.01, "days", _WEIGHTS),
            expiry=ExpireAfter(2),
            quotas=FieldQuotas({"b": 0.4, "c": 0.2}),
        ),
        72,
        weighted=True,
    ),
}


class _Batch(NamedTuple):
    keys: np.ndarray
    weight: np.ndarray
    day: np.ndarray


class _Compiled:
    """The table of a set-up with a compiled step, which can be made new again."""

    def __init__(self, name: str):
        self.setup = SETUPS[name]
        self.table = _table(self.setup.policy, self.setup.capacity)
        specs = _Batch(
            tf.TensorSpec([None, F], tf.int64),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.int64),
        )
        self._step = tf.function(self._lookup, [specs], autograph=False)
        self._new = [variable.numpy() for variable in self.table.variables]

    def train_lookup(self, batch: _Batch) -> TableLookup:
        return self._step(_Batch(*map(tf.constant, batch)))

    def given(self, batch: _Batch) -> _Batch:
        """What the set-up wants to know."""
        return batch if self.setup.weighted else batch._replace(weight=None)

    def reset(self) -> None:
        for variable, value in zip(self.table.variables, self._new, strict=True):
            variable.assign(value)

    def _lookup(self, batch: _Batch) -> TableLookup:
        return self.table.train_lookup(*self.given(batch))


_compiled = functools.cache(_Compiled)


class _State(NamedTuple):
    """A table's variables, by slot; `live` as of a day."""

    keys: np.ndarray
    columns: dict[str, np.ndarray]
    records: np.ndarray
    live: np.ndarray


def _state(table: DynamicTable, day: int = 0) -> _State:
    state = table.row_state.numpy().T[:, : table.capacity]
    columns = dict(zip(table.policy.columns, state, strict=True))
    live = columns["score"] > 0
    if table.policy.expiry is not None:
        last = max(day, int(table.day)) - table.policy.expiry.days
        live &= (columns["day"] >= last) | np.isinf(columns["score"])
    return _State(table.keys.numpy().reshape(-1), columns, table.records.numpy(), live)


@st.composite
def _streams(draw: st.DrawFn) -> list[_Batch]:
    """Batches of keys: some odd, some hot, some seen once; more than the table holds.

    Fields share keys; the last one has few of its own. Days go on, and back now and then.
    """
    pool = ODD_KEYS + draw(st.lists(st.integers(INT64.min, INT64.max), max_size=10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([5, 60, 1000]))
    today = draw(st.sampled_from([0, 19_800]))
    batches = []
    for _ in range(draw(st.integers(3, 12))):
        examples = rng.integers(0, 31)
        size = (examples, F)
        odd = rng.choice(np.array(pool, np.int64), size)
        keys = np.where(rng.random(size) < 0.3, odd, rng.integers(-spread, spread, size))
        few = rng.random(examples) < 0.8
        keys[few, -1] = rng.integers(2000, 2020, few.sum())
        weight = rng.choice(np.array([1.0, 0.25, 3.1, 0.0], np.float32), examples)
        today += rng.integers(-1, 3)
        batches.append(_Batch(keys, weight, today + rng.integers(-1, 2, examples)))
    return batches


@pytest.mark.parametrize("name", SETUPS)
@settings(deadline=None, max_examples=6)
@given(batches=_streams())
def test_is_the_plain_model(name: str, batches: list[_Batch]) -> None:
    """Every key, score, count and day of it, after every step, bit for bit."""
    compiled = _compiled(name)
    compiled.reset()
    setup, table = compiled.setup, compiled.table
    plain = ReferenceTable(capacity=setup.capacity, fields=FIELDS, policy=setup.policy)
    for batch in batches:
        compiled.train_lookup(batch)
        plain.train(*compiled.given(batch))

        state = _state(table)
        taken = state.columns["score"] > 0
        assert taken.tolist() == [row is not None for row in plain.rows]
        rows = [row for row in plain.rows if row is not None]
        assert state.keys[taken].tolist() == [row.key for row in rows]
        expected = {
            "score": [row.score for row in rows],
            "step": [row.step for row in rows],
            "day": [row.day for row in rows],
            "field": [row.field + 1 for row in rows],
        }
        for column, values in state.columns.items():
            np.testing.assert_array_equal(values[taken], np.array(expected[column], np.float32))
            assert not values[~taken].any()
        np.testing.assert_array_equal(
            flushed(table.sketch.cells.numpy()), plain.sketch.cells.reshape(-1)
        )
        assert (int(table.examples), int(table.day)) == (plain.examples, plain.day)
        assert table.statistics() == {
            "live_rows": len(plain.live_rows()),
            **{key: plain.counts[key] for key in ("admissions", "evictions", "expirations")},
            "lookups": plain.counts["lookups"],
            "hits": sum(plain.hits),
        }
        assert table.hits_by_field() == dict(zip(FIELDS, plain.hits, strict=True))
        if setup.policy.quotas:
            held = plain.rows_of_field()
            assert table.rows_of_field.numpy().tolist() == held
            assert all(n <= quota for n, quota in zip(held, plain.quotas, strict=True))


@pytest.mark.parametrize("name", SETUPS)
@settings(deadline=None, max_examples=6)
@given(batches=_streams())
def test_invariants(name: str, batches: list[_Batch]) -> None:
    compiled = _compiled(name)
    compiled.reset()
    policy, table = compiled.setup.policy, compiled.table
    scratch = table.capacity + F
    # What fills empty slots is no key.
    ever = set(table.keys.numpy().reshape(-1).tolist())
    for number, batch in enumerate(batches):
        before = _state(table, max(batch.day, default=0))
        origin = float(table._score_origin)
        lookup = compiled.train_lookup(batch)
        after = _state(table)
        ever |= set(batch.keys.reshape(-1).tolist())

        # No key twice, and find(key) is its slot.
        live = np.flatnonzero(after.live)
        keys = after.keys[live].tolist()
        assert len(set(keys)) == len(keys) <= table.capacity
        assert slots_of(table, keys) == table.live_slots().numpy().tolist() == live.tolist()
        assert not known(table, sorted(ever - set(keys)))

        # A row of this step stays where it is, a pinned one for ever.
        same = after.live & (before.keys == after.keys)
        in_step = np.isin(before.keys, batch.keys)
        pinned = before.live & np.isinf(before.columns["score"])
        assert same[(before.live & in_step) | pinned].all()
        assert np.isinf(after.columns["score"][pinned]).all()

        # Rows of the step are distinct, and what a plain look-up reads.
        slots = lookup.slots.numpy()
        own = slots[slots != scratch]
        assert len(set(own.tolist())) == len(own)
        assert set(slots[lookup.index.numpy()].tolist()) == set(own.tolist())
        records = np.concatenate([lookup.rows, lookup.optimizer], axis=1)
        np.testing.assert_array_equal(records, after.records[slots])
        embedded = tf.reshape(tf.gather(lookup.rows, lookup.index), [-1, F, D])
        np.testing.assert_array_equal(embedded, table.lookup(tf.constant(batch.keys)))

        # Newcomers are fresh, those that expired too; all else is as it was.
        taken = after.live & ~(before.live & (before.keys == after.keys))
        newcomers = np.flatnonzero(taken)
        fresh = _fresh(table, after.keys[newcomers])
        np.testing.assert_array_equal(after.records[newcomers], fresh)
        others = np.append(~taken, np.ones(F + 1, bool))
        np.testing.assert_array_equal(after.records[others], before.records[others])

        # The lowest score went, of the rows that this step does not read. A step may rescale all
        # scores first; those that fade out of float32's range are then equally low.
        shift = (float(table._score_origin) - origin) / policy.score.half_life
        factor = max(np.float32(2.0**-shift), _TINY)
        scores = np.maximum(before.columns["score"] * factor, _TINY)
        for slot in newcomers[before.live[newcomers]]:
            assert not in_step[slot]
            assert after.columns["score"][slot] > scores[slot] * (1 - 1e-6)
            if policy.quotas:
                continue  # The plain model knows which rows may go.
            buckets = two_buckets(int(after.keys[slot]), table.capacity // WAYS)
            near = np.add.outer(WAYS * np.array(buckets), np.arange(WAYS)).reshape(-1)
            bystanders = near[~np.isin(after.keys[near], batch.keys) & ~taken[near]]
            assert after.live[near].all()
            assert (scores[bystanders] >= scores[slot] * (1 - 1e-6)).all()

        # Learning changes what the step read, and never the scratch row.
        noise = tf.random.stateless_normal([batch.keys.size, D], [1, number])
        gradients = tf.math.unsorted_segment_sum(noise, lookup.index, len(slots))
        table.apply_gradients(lookup, gradients)
        learnt = table.records.numpy()
        changed = np.flatnonzero((learnt != after.records).any(axis=1))
        np.testing.assert_array_equal(changed, np.sort(own))
        np.testing.assert_array_equal(learnt[scratch], [0.0] * D + [np.float32(0.1)] * D)
        assert not table.row_state.numpy()[table.capacity :].any()
        assert np.isfinite(learnt).all()


@pytest.mark.parametrize("name", ["all", "twice", "fading", "days"])
@settings(deadline=None, max_examples=5)
@given(batches=_streams())
def test_scores_are_decayed_counts(name: str, batches: list[_Batch]) -> None:
    """From the moment a key has a row, its score is a plain decayed sum of weights."""
    compiled = _compiled(name)
    compiled.reset()
    table, score = compiled.table, compiled.setup.policy.score
    expected: dict[int, float] = {}
    for batch in batches:
        today, before = int(table.day), _state(table, max(batch.day, default=0))
        had_row = set(before.keys[before.live].tolist())
        compiled.train_lookup(batch)
        state, unit = _state(table), float(table._unit())
        sums: Counter[int] = Counter()
        weights = batch.weight if compiled.setup.weighted else np.ones(len(batch.keys))
        for example, weight in zip(batch.keys.tolist(), weights.tolist(), strict=True):
            for key in example:
                sums[key] += max(weight, 1e-6)
        age = int(table.day) - today if score.unit == "days" else len(batch.keys)
        now = {}
        for slot in np.flatnonzero(state.live):
            key, found = int(state.keys[slot]), float(state.columns["score"][slot]) / unit
            now[key] = found
            if key in had_row:
                now[key] = expected[key] * 2.0 ** (-age / score.half_life) + sums[key]
                # One rescaling fades by 2^126 at most, and stored scores are below 2^77 here.
                assert found == pytest.approx(now[key], rel=1e-4, abs=2.0**-49)
            else:
                assert found >= sums[key] * (1 - 1e-6) > 0
        expected = now


# Admission.


@pytest.mark.parametrize("min_count", [1, 2, 4])
def test_a_key_reads_its_fields_shared_row_until_admitted(min_count: int) -> None:
    table = _table(Policy(MinCount(min_count), DecayedCount(LONG)))
    keys = tf.constant([[7, 8, 9]], tf.int64)
    np.testing.assert_array_equal(table.lookup(keys)[0], table.shared_rows())
    for occurrence in range(1, min_count + 1):
        table.train_lookup(keys)
        admitted = occurrence >= min_count
        assert known(table, [7, 8, 9]) == ([7, 8, 9] if admitted else [])
        is_shared = table.lookup(keys)[0].numpy() == table.shared_rows().numpy()
        assert is_shared.all(axis=1).tolist() == [not admitted] * F


def test_occurrences_in_one_batch_count_each() -> None:
    table = _table(Policy(MinCount(4), DecayedCount(LONG)))
    train(table, [[7, 7, 8], [7, 7, 8]])
    assert known(table, [7, 8]) == [7]


def test_a_key_of_two_fields_reads_each_ones_shared_row() -> None:
    table = _table(Policy(MinCount(3), DecayedCount(LONG)))
    lookup = table.train_lookup(tf.constant([[5, 5, 6]], tf.int64))
    np.testing.assert_array_equal(tf.gather(lookup.rows, lookup.index), table.shared_rows())


@pytest.mark.parametrize(("apart", "admitted"), [(5, True), (9, True), (20, False), (700, False)])
def test_occurrences_fade_before_admission_too(apart: int, admitted: bool) -> None:
    table = _table(Policy(MinCount(2), DecayedCount(10.0)))
    train(table, [[7, -3, -3]])
    train(table, np.full([apart - 1, F], -3))
    train(table, [[7, -3, -3]])
    assert known(table, [7]) == ([7] if admitted else [])


@pytest.mark.parametrize("name", SETUPS)
def test_no_examples_change_nothing(name: str) -> None:
    compiled = _compiled(name)
    compiled.reset()
    table = compiled.table
    before = [table.records.numpy(), table.keys.numpy(), table.row_state.numpy()]
    nothing = _Batch(np.zeros([0, F], np.int64), np.zeros([0], np.float32), np.zeros([0], np.int64))
    lookup = compiled.train_lookup(nothing)
    table.apply_gradients(lookup, tf.zeros_like(lookup.rows))
    assert lookup.index.shape == [0]
    assert table.lookup(tf.constant(nothing.keys)).shape == [0, F, D]
    assert set(table.statistics().values()) == {0}
    after = [table.records, table.keys, table.row_state]
    for old, variable in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("capacity", [64, 65, 100, 1000, 1 << 14])
def test_a_new_table_knows_no_key(capacity: int) -> None:
    """What fills empty slots is found by no look-up."""
    table = _table(Policy(), capacity)
    rng = np.random.default_rng()
    keys = [*np.unique(table.keys), *ODD_KEYS, *rng.integers(INT64.min, INT64.max, 1000).tolist()]
    assert not known(table, keys)
    buckets = table._buckets(tf.constant(keys, tf.int64)).numpy()
    expected = [two_buckets(int(key), table.capacity // WAYS) for key in keys[:50]]
    assert [tuple(pair) for pair in buckets[:50].tolist()] == expected


# Gradients.


def test_gradients_reach_shared_rows_and_nothing_else() -> None:
    table = _table(Policy(MinCount(2), DecayedCount(LONG)))
    before = table.records.numpy()
    train(table, [[5, 6, 6]])
    after = table.records.numpy()
    changed = np.flatnonzero((before != after).any(axis=1))
    # 5 occurs once and reads the shared row of field 0; 6 has a row of its own.
    assert changed.tolist() == [*slots_of(table, [6]), table.capacity]
    learnt = before[table.capacity, :D] - 0.05 / np.sqrt(0.1 + 1.0)
    np.testing.assert_allclose(after[table.capacity], [*learnt, *[0.1 + 1.0] * D], 1e-5)


def test_what_the_optimizer_keeps_lies_beside_the_row() -> None:
    optimizer = Adagrad(initial_accumulator=0.7)
    table = DynamicTable(dim=D, capacity=64, fields="a", policy=AT_ONCE, optimizer=optimizer)
    lookup = train(table, [[7]])
    np.testing.assert_array_equal(lookup.optimizer, np.full([2, D], 0.7, np.float32))
    (slot,) = slots_of(table, [7])
    np.testing.assert_allclose(table.records[slot, D:], [1.7] * D, 1e-6)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32))
def test_without_eviction_training_equals_a_static_embedding(seed: int) -> None:
    compiled = _compiled("all")
    compiled.reset()
    table = compiled.table
    rng = np.random.default_rng(seed)
    vocabulary = np.array([*ODD_KEYS, *rng.integers(INT64.min, INT64.max, 15)])
    static = keras.layers.Embedding(len(vocabulary), D)
    static.build(None)
    static.embeddings.assign(_fresh(table, vocabulary)[:, :D])
    optimizer = keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.1)
    target = tf.constant(rng.normal(size=(F, D)), tf.float32)

    def loss_of(embedded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((embedded - target) ** 2 + tf.sin(3 * embedded))

    for _ in range(6):
        ids = rng.integers(0, len(vocabulary), (5, F))
        batch = _Batch(vocabulary[ids], np.ones(5, np.float32), np.zeros(5, np.int64))
        lookup = compiled.train_lookup(batch)
        with tf.GradientTape() as tape:
            tape.watch(lookup.rows)
            loss = loss_of(tf.reshape(tf.gather(lookup.rows, lookup.index), [-1, F, D]))
        table.apply_gradients(lookup, tf.convert_to_tensor(tape.gradient(loss, lookup.rows)))
        with tf.GradientTape() as tape:
            static_loss = loss_of(static(ids))
        optimizer.minimize(static_loss, static.trainable_variables, tape)
        np.testing.assert_allclose(loss, static_loss, rtol=1e-5)
    assert table.statistics()["hits"] == table.statistics()["lookups"]
    slots = np.array(slots_of(table, vocabulary.tolist()))
    seen = slots >= 0
    assert seen.sum() > 10
    (accumulators,) = (v for v in optimizer.variables if v.shape == [len(vocabulary), D])
    expected = np.concatenate([static.embeddings, accumulators], axis=1)[seen]
    np.testing.assert_allclose(table.records.numpy()[slots[seen]], expected, rtol=1e-5, atol=1e-6)


# Eviction.


def test_eviction_takes_the_lowest_and_resets_it() -> None:
    table = _table(AT_ONCE)
    *settled, newcomer = crowd(table, 2 * WAYS + 1)
    weak = settled[5]
    strong = [key for key in settled if key != weak]
    for keys in (settled, strong, strong):
        train(table, _every_key(keys))
    assert known(table, settled) == settled
    trained = table.records.numpy()[slots_of(table, [weak])]

    # One occurrence does not beat `weak`'s one; the second does.
    once = [[newcomer, settled[0], settled[1]]]
    train(table, once)
    assert not known(table, [newcomer])
    train(table, once)
    assert known(table, settled) == strong
    assert table.statistics()["evictions"] == 1

    # It comes back with a fresh row and a fresh optimizer's state.
    table.train_lookup(tf.constant([[weak] * F] * 8, tf.int64))
    record = table.records.numpy()[slots_of(table, [weak])]
    np.testing.assert_array_equal(record, _fresh(table, [weak]))
    assert np.abs(record - trained).min() > 0.01


def test_rows_of_the_step_are_never_evicted() -> None:
    table = _table(AT_ONCE)
    keys = crowd(table, 3 * WAYS)
    settled, strong = keys[: 2 * WAYS], keys[2 * WAYS :]
    train(table, _every_key(settled))
    train(table, _every_key(settled + strong * 3))
    assert known(table, keys) == settled


@pytest.mark.parametrize(("before", "needed"), [(0, 6), (2, 4)])
def test_an_evicted_key_has_to_earn_admission_again(before: int, needed: int) -> None:
    """With what it occurred before it had a row, which has faded by half or less, and no more."""
    table = _table(Policy(MinCount(3), DecayedCount(LONG)))
    *settled, newcomer = crowd(table, 2 * WAYS + 1)
    weak, other = settled[0], settled[1]
    for _ in range(before):
        train(table, [[weak, other, other]])
    train(table, np.tile(_every_key(settled), [3, 1]))
    for _ in range(2):
        train(table, _every_key(settled[1:]))
    train(table, [[newcomer] * F] * 3)
    assert not known(table, [weak])
    # All others have at least 5 occurrences.
    for _ in range(needed - 1):
        train(table, [[weak, other, other]])
    assert not known(table, [weak])
    train(table, [[weak, other, other]])
    assert known(table, [weak])


def test_fills_up_before_it_evicts() -> None:
    table = DynamicTable(dim=1, capacity=4000, fields="a", policy=AT_ONCE)
    keys = np.random.default_rng().integers(INT64.min, INT64.max, [4000, 1])
    for part in np.split(keys, 16):
        train(table, part)
        statistics = table.statistics()
        if statistics["hits"] < statistics["lookups"]:
            break
    # With the emptier of two buckets, 300 simulations found the first key without an empty slot
    # when 0.68 to 0.85 of 4000 were taken; with one bucket, 0.16 to 0.46.
    assert table.statistics()["live_rows"] > 0.6 * table.capacity
    assert table.statistics()["evictions"] == 0


# Time.


@pytest.mark.parametrize(("half_lives", "times"), [(60, 1), (70, 1), (5000, 2)])
def test_rescaling_keeps_order_and_liveness(half_lives: int, times: int) -> None:
    half_life = 4
    table = _table(Policy(MinCount(1), DecayedCount(half_life)))
    rng = np.random.default_rng()
    for _ in range(10):
        train(table, rng.integers(0, 30, [3, F]))
    before = _state(table)
    for _ in range(times):
        train(table, np.full([half_lives * half_life, F], -3))
    after = _state(table)
    assert float(table._score_origin) > 0
    (slot,) = slots_of(table, [-3])
    live = np.setdiff1d(np.flatnonzero(before.live), slot)
    assert after.live[live].all()
    np.testing.assert_array_equal(after.keys[live], before.keys[live])
    order = live[np.argsort(before.columns["score"][live])]
    scores = after.columns["score"][order]
    assert (np.diff(scores) >= 0).all()
    if times == 1:
        shift = float(table._score_origin) / half_life
        old = before.columns["score"][order]
        np.testing.assert_array_equal(scores, old * np.float32(2.0**-shift))
    assert after.columns["score"][slot] > scores.max()
    assert table.live_slots(1.0).numpy().tolist() == [slot]


def test_live_slots_are_chosen_by_the_score_of_now() -> None:
    table = _table(Policy(MinCount(1), DecayedCount(10.0)))
    train(table, [[7, 7, 7]])
    train(table, np.full([10, F], -3))
    # 3 occurrences a half-life ago, and 30 now.
    (at_7,), (other,) = slots_of(table, [7]), slots_of(table, [-3])
    for min_score, expected in [(1.4, {at_7, other}), (1.6, {other}), (29, {other}), (31, set())]:
        assert set(table.live_slots(min_score).numpy().tolist()) == expected


def test_a_checkpoint_restores_it_exactly(tmp_path: object) -> None:
    rng = np.random.default_rng()
    setup = SETUPS["everything"]
    batches = [
        (rng.integers(-99, 99, (40, F)), rng.uniform(1, 3, 40).astype(np.float32), [day] * 40)
        for day in range(8)
    ]
    one, two = (_table(setup.policy, setup.capacity) for _ in range(2))
    for batch in batches[:6]:
        train(one, *batch)
    path = tf.train.Checkpoint(table=one).write(f"{tmp_path}/table")
    tf.train.Checkpoint(table=two).read(path).assert_consumed()
    for batch in batches[6:]:
        train(one, *batch)
        train(two, *batch)
    assert one.statistics()["evictions"] > 0
    assert one.statistics()["expirations"] > 0
    for mine, restored in zip(one.variables, two.variables, strict=True):
        np.testing.assert_array_equal(mine, restored)


# Arguments.


@pytest.mark.parametrize(
    ("asked", "got"),
    [(1, 64), (64, 64), (65, 72), (72, 72), (100, 104), (1000, 1000), (1 << 18, 1 << 18)],
)
def test_capacity_is_rounded_up_to_a_multiple_of_eight(asked: int, got: int) -> None:
    table = DynamicTable(dim=1, capacity=asked, fields="a")
    assert table.capacity == got
    assert table.keys.shape == [got // WAYS, WAYS]
    # A row of the field and the scratch row come behind; a row is a number and its accumulator.
    assert table.records.shape == [got + 2, 2]


@pytest.mark.parametrize("capacity", [64, 65, 100, 1000])
def test_every_slot_can_be_taken(capacity: int) -> None:
    table = DynamicTable(dim=1, capacity=capacity, fields="a", policy=AT_ONCE)
    keys = np.random.default_rng().integers(INT64.min, INT64.max, [20 * capacity, 1])
    lookup = train(table, keys)
    assert table.statistics()["live_rows"] == table.capacity
    assert np.unique(lookup.slots).tolist() == list(range(table.capacity + 2))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"dim": 0}, "at least 1"),
        ({"capacity": 0}, "at least 1"),
        ({"capacity": -8}, "at least 1"),
        ({"fields": ()}, "at least one name"),
        ({"fields": ("a", "b", "a")}, "different names"),
    ],
)
def test_bad_arguments(wrong: dict, expected: str) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError) as error:
        DynamicTable(**{"dim": D, "capacity": 64, "fields": FIELDS, **wrong})
    assert str(error.value) == f"`{name}` should be {expected}. Received: {name}={value}"


@pytest.mark.parametrize("keys", [[[1, 2]], [[1, 2, 3, 4, 5, 6]]])
def test_keys_have_a_column_for_each_field(keys: list[list[int]]) -> None:
    table = _table(Policy())
    for method in (table.lookup, table.train_lookup):
        with pytest.raises(ValueError) as error:
            method(tf.constant(keys, tf.int64))
        shape = (1, len(keys[0]))
        assert str(error.value) == f"`keys` should be [B, 3]. Received: keys={shape}"


def test_seeds_change_the_rows() -> None:
    keys = tf.constant([[7, 8, 9]], tf.int64)
    shared, own = [], []
    for seed in (0, 1):
        table = DynamicTable(dim=D, capacity=64, fields=FIELDS, policy=AT_ONCE, seed=seed)
        shared.append(table.lookup(keys).numpy())
        table.train_lookup(keys)
        own.append(table.lookup(keys).numpy())
    assert np.abs(shared[0] - shared[1]).max() > 0.01
    assert np.abs(own[0] - own[1]).max() > 0.01
