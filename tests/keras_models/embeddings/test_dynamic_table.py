"""The table under random streams, against what its docstring promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings import DynamicTable
from keras_models.embeddings.dynamic_table import MIN_CAPACITY, ROW_LIMIT, WAYS
from keras_models.embeddings.hashing import uniform_rows

F, D = 3, 4
INT64 = np.iinfo(np.int64)
ODD_KEYS = [0, -1, 1, int(INT64.min), int(INT64.max)]
LONG = 1e12
"""A half-life that lets nothing fade."""


class _Traced:
    """A table with compiled methods, which can be made new again."""

    def __init__(self, **config: float):
        self.table = DynamicTable(dim=D, capacity=MIN_CAPACITY, num_fields=F, **config)
        keys = tf.TensorSpec([None, F], tf.int64)
        self.train_lookup = tf.function(self.table.train_lookup, [keys], autograph=False)
        self.apply_gradients = tf.function(
            self.table.apply_gradients,
            [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, D])],
            autograph=False,
        )
        self._new = [variable.numpy() for variable in self.table.variables]

    def reset(self) -> _Traced:
        for variable, value in zip(self.table.variables, self._new, strict=True):
            variable.assign(value)
        return self


@pytest.fixture(scope="module")
def new() -> Iterator[Callable[..., _Traced]]:
    """Makes new tables, and traces only once for each configuration."""
    made: dict[tuple, _Traced] = {}

    def make(**config: float) -> _Traced:
        key = tuple(config.items())
        if key not in made:
            made[key] = _Traced(**config)
        return made[key].reset()

    yield make
    made.clear()


def _state(table: DynamicTable) -> dict[str, np.ndarray]:
    return {
        "keys": table.keys.numpy().reshape(-1),
        "live": table.scores.numpy() > 0,
        "scores": table.scores.numpy().astype(np.float64),
        "rows": table.rows.numpy(),
        "accumulators": table.accumulators.numpy(),
    }


def _slots(table: DynamicTable, keys: list[int]) -> list[int]:
    return table.find(tf.constant(keys, tf.int64)).numpy().tolist()


def _matrix(keys: list[int]) -> np.ndarray:
    """A [B, F] matrix that holds each key once, filled up with the last one."""
    padded = keys + keys[-1:] * (-len(keys) % F)
    return np.array(padded, np.int64).reshape(-1, F)


@st.composite
def _streams(draw: st.DrawFn) -> list[np.ndarray]:
    """Batches of keys: some odd, some hot, some seen once; more than the table holds."""
    pool = ODD_KEYS + draw(st.lists(st.integers(INT64.min, INT64.max), max_size=10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([5, 60, 1000]))
    batches = []
    for _ in range(draw(st.integers(1, 12))):
        size = (draw(st.integers(0, 30)), F)
        odd = rng.choice(np.array(pool, np.int64), size)
        batches.append(np.where(rng.random(size) < 0.3, odd, rng.integers(-spread, spread, size)))
    return batches


@settings(deadline=None, max_examples=25)
@given(_streams(), st.sampled_from([1, 2, 3]), st.sampled_from([LONG, 40.0, 0.3]))
def test_invariants(
    new: Callable[..., _Traced], batches: list[np.ndarray], min_count: int, half_life: float
) -> None:
    traced = new(min_count=min_count, half_life=half_life)
    table = traced.table
    ever: set[int] = set()
    for batch in batches:
        before, origin = _state(table), float(table._score_origin)
        old_slots = table.find(tf.constant(np.unique(batch))).numpy()
        rows, slots, index = traced.train_lookup(tf.constant(batch))
        after = _state(table)
        ever |= set(batch.reshape(-1).tolist())

        # No key twice, and find(key) is its slot.
        live = np.flatnonzero(after["live"])
        keys = after["keys"][live]
        assert len(set(keys.tolist())) == len(keys) <= table.capacity
        np.testing.assert_array_equal(table.find(tf.constant(keys)), live)
        absent = sorted(ever - set(keys.tolist()))
        assert (table.find(tf.constant(absent, tf.int64)).numpy() == -1).all()
        assert table.statistics()["live_rows"] == len(live)

        # A row of this step stays where it is.
        kept = old_slots >= 0
        found = table.find(tf.constant(np.unique(batch))).numpy()
        np.testing.assert_array_equal(found[kept], old_slots[kept])

        # Rows of the step are distinct, and what a plain look-up reads.
        assert len(set(slots.numpy().tolist())) == len(slots)
        np.testing.assert_array_equal(rows, tf.gather(table.rows, slots))
        embedded = tf.reshape(tf.gather(rows, index), [-1, F, D])
        np.testing.assert_array_equal(embedded, table.lookup(tf.constant(batch)))

        # Newcomers are fresh, all else is as it was.
        taken = after["live"] & ~(before["live"] & (before["keys"] == after["keys"]))
        newcomers = np.flatnonzero(taken)
        fresh = uniform_rows(tf.constant(after["keys"][newcomers]), D, ROW_LIMIT, table._row_salt)
        np.testing.assert_array_equal(after["rows"][newcomers], fresh)
        assert (after["accumulators"][newcomers] == np.float32(0.1)).all()
        others = np.append(~taken, np.ones(F, bool))
        np.testing.assert_array_equal(after["rows"][others], before["rows"][others])

        # The lowest score went, of the rows that this step does not read. A step may rescale all
        # scores first; those that fade out of float32's range are then equally low.
        fading = 2.0 ** -((float(table._score_origin) - origin) / half_life)
        scores = np.maximum(before["scores"] * fading, np.finfo(np.float32).tiny)
        in_step = np.isin(after["keys"], batch)
        for slot in newcomers[before["live"][newcomers]]:
            buckets = table._buckets(tf.constant(after["keys"][slot : slot + 1])).numpy()[0]
            near = (buckets[:, None] * WAYS + np.arange(WAYS)).reshape(-1)
            assert not np.isin(before["keys"][slot], batch)
            bystanders = near[~in_step[near] & ~taken[near]]
            assert after["live"][near].all()
            assert (scores[bystanders] >= scores[slot] * (1 - 1e-6)).all()

        traced.apply_gradients(slots, tf.random.stateless_normal(rows.shape, [1, len(live)]))


@settings(deadline=None, max_examples=20)
@given(_streams(), st.sampled_from([LONG, 40.0, 0.3]))
def test_scores_are_decayed_counts(
    new: Callable[..., _Traced], batches: list[np.ndarray], half_life: float
) -> None:
    """From the moment a key has a row, its score is a plain decayed count."""
    traced = new(min_count=1, half_life=half_life)
    table = traced.table
    expected: dict[int, float] = {}
    for batch in batches:
        traced.train_lookup(tf.constant(batch))
        state = _state(table)
        unit = float(table._unit(table.examples))
        counts = Counter(batch.reshape(-1).tolist())
        decay = 2.0 ** (-len(batch) / half_life)
        now = {}
        for slot in np.flatnonzero(state["live"]):
            key, score = int(state["keys"][slot]), state["scores"][slot] / unit
            if key in expected:
                now[key] = expected[key] * decay + counts[key]
                assert score == pytest.approx(now[key], rel=1e-4, abs=1e-30)
            else:
                assert score >= counts[key] * (1 - 1e-6) > 0
                now[key] = score
        expected = now


@pytest.mark.parametrize("min_count", [1, 2, 4])
def test_a_key_reads_its_fields_shared_row_until_admitted(
    new: Callable[..., _Traced], min_count: int
) -> None:
    traced = new(min_count=min_count, half_life=LONG)
    table = traced.table
    keys = tf.constant([[7, 8, 9]], tf.int64)
    shared = table.rows[table.capacity :]
    np.testing.assert_array_equal(table.lookup(keys)[0], shared)
    for occurrence in range(1, min_count + 1):
        traced.train_lookup(keys)
        admitted = occurrence >= min_count
        assert (table.find(tf.reshape(keys, [-1])).numpy() >= 0).all() == admitted
        same = np.all(table.lookup(keys)[0].numpy() == shared.numpy(), axis=1)
        assert same.all() != admitted
        assert same.any() != admitted


def test_occurrences_in_one_batch_count_each(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=4, half_life=LONG)
    traced.train_lookup(tf.constant([[7, 7, 8], [7, 7, 8]], tf.int64))
    assert [slot >= 0 for slot in _slots(traced.table, [7, 8])] == [True, False]


def test_a_key_of_two_fields_reads_each_ones_shared_row(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=3, half_life=LONG)
    rows, _, index = traced.train_lookup(tf.constant([[5, 5, 6]], tf.int64))
    shared = traced.table.rows[traced.table.capacity :]
    np.testing.assert_array_equal(tf.gather(rows, index), shared)


@pytest.mark.parametrize(("apart", "admitted"), [(5, True), (9, True), (20, False)])
def test_occurrences_fade_before_admission_too(
    new: Callable[..., _Traced], apart: int, admitted: bool
) -> None:
    traced = new(min_count=2, half_life=10.0)
    filler = np.full([apart - 1, F], -3, np.int64)
    traced.train_lookup(tf.constant([[7, -3, -3]], tf.int64))
    traced.train_lookup(tf.constant(filler))
    traced.train_lookup(tf.constant([[7, -3, -3]], tf.int64))
    assert (_slots(traced.table, [7]) != [-1]) == admitted


def test_gradients_reach_shared_rows_and_nothing_else(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=2, half_life=LONG)
    table = traced.table
    before = table.rows.numpy()
    rows, slots, index = traced.train_lookup(tf.constant([[5, 6, 6]], tf.int64))
    gradient = tf.math.unsorted_segment_sum(tf.ones([F, D]), index, len(slots))
    traced.apply_gradients(slots, gradient)
    changed = np.flatnonzero(np.any(table.rows.numpy() != before, axis=1))
    (at_6,) = _slots(table, [6])
    # 5 occurs once and reads the shared row of field 0; 6 has a row of its own.
    assert changed.tolist() == [at_6, table.capacity]
    step = 0.05 / np.sqrt(0.1 + 1.0)
    np.testing.assert_allclose(table.rows[table.capacity], before[table.capacity] - step, 1e-5)


def _crowd(table: DynamicTable, size: int) -> list[int]:
    """Keys whose both buckets are the same two."""
    keys = np.arange(100_000)
    buckets = np.sort(table._buckets(tf.constant(keys)).numpy(), axis=1)
    return keys[(buckets == buckets[0]).all(axis=1)][:size].tolist()


def test_eviction_takes_the_lowest_and_resets_it(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=1, half_life=LONG)
    table = traced.table
    *settled, newcomer = _crowd(table, 2 * WAYS + 1)
    weak = settled[5]
    for count in range(3):
        chosen = settled if count == 0 else [key for key in settled if key != weak]
        rows, slots, _ = traced.train_lookup(tf.constant(_matrix(chosen)))
        traced.apply_gradients(slots, tf.ones_like(rows))
    assert min(_slots(table, settled)) >= 0
    trained = table.lookup(tf.constant(_matrix([weak])))[0, 0].numpy()

    # One occurrence does not beat `weak`'s one; the second does.
    once = _matrix([newcomer, settled[0], settled[1]])
    traced.train_lookup(tf.constant(once))
    assert _slots(table, [newcomer]) == [-1]
    traced.train_lookup(tf.constant(once))
    found = dict(zip(settled, _slots(table, settled), strict=True))
    assert [key for key, slot in found.items() if slot < 0] == [weak]
    assert table.statistics()["evictions"] == 1

    # It comes back with a fresh row and a fresh accumulator.
    for _ in range(4):
        traced.train_lookup(tf.constant(np.full([2, F], weak, np.int64)))
    (slot,) = _slots(table, [weak])
    fresh = uniform_rows(tf.constant([weak], tf.int64), D, ROW_LIMIT, table._row_salt)[0].numpy()
    np.testing.assert_array_equal(table.rows[slot], fresh)
    assert np.abs(fresh - trained).max() > 0.01
    np.testing.assert_array_equal(table.accumulators[slot], np.full(D, 0.1, np.float32))


def test_rows_of_the_step_are_never_evicted(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=1, half_life=LONG)
    table = traced.table
    crowd = _crowd(table, 3 * WAYS)
    traced.train_lookup(tf.constant(_matrix(crowd[: 2 * WAYS])))
    strong = np.repeat(crowd[2 * WAYS :], 3)
    everything = np.concatenate([crowd[: 2 * WAYS], strong])
    traced.train_lookup(tf.constant(_matrix(everything.tolist())))
    assert min(_slots(table, crowd[: 2 * WAYS])) >= 0
    assert max(_slots(table, crowd[2 * WAYS :])) == -1


def test_an_evicted_key_has_to_earn_admission_again(
    new: Callable[..., _Traced],
) -> None:
    traced = new(min_count=3, half_life=LONG)
    table = traced.table
    *settled, newcomer = _crowd(table, 2 * WAYS + 1)
    weak = settled[0]
    for _ in range(3):
        traced.train_lookup(tf.constant(_matrix(settled)))
    for _ in range(2):
        traced.train_lookup(tf.constant(_matrix(settled[1:])))
    traced.train_lookup(tf.constant([[newcomer] * F] * 3, tf.int64))
    assert _slots(table, [weak]) == [-1]
    # All others have 5 occurrences, so it needs 6 in this crowd; with nothing carried over the
    # fifth is not enough.
    for _ in range(5):
        traced.train_lookup(tf.constant(_matrix([weak, settled[1], settled[2]])))
    assert _slots(table, [weak]) == [-1]
    traced.train_lookup(tf.constant(_matrix([weak, settled[1], settled[2]])))
    assert _slots(table, [weak]) != [-1]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32))
def test_without_eviction_training_equals_a_static_embedding(
    new: Callable[..., _Traced], seed: int
) -> None:
    traced = new(min_count=1, half_life=LONG)
    table = traced.table
    rng = np.random.default_rng(seed)
    vocabulary = np.array([*ODD_KEYS, *rng.integers(INT64.min, INT64.max, 15)])
    static = keras.layers.Embedding(len(vocabulary), D)
    static.build(None)
    static.embeddings.assign(uniform_rows(tf.constant(vocabulary), D, ROW_LIMIT, table._row_salt))
    optimizer = keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.1)
    target = tf.constant(rng.normal(size=(F, D)), tf.float32)

    def loss_of(embedded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((embedded - target) ** 2 + tf.sin(3 * embedded))

    for _ in range(6):
        ids = rng.integers(0, len(vocabulary), (5, F))
        rows, slots, index = traced.train_lookup(tf.constant(vocabulary[ids]))
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = loss_of(tf.reshape(tf.gather(rows, index), [-1, F, D]))
        traced.apply_gradients(slots, tf.convert_to_tensor(tape.gradient(loss, rows)))
        with tf.GradientTape() as tape:
            static_loss = loss_of(static(ids))
        optimizer.minimize(static_loss, static.trainable_variables, tape)
        np.testing.assert_allclose(loss, static_loss, rtol=1e-5)
    live = table.find(tf.constant(vocabulary)).numpy()
    seen = live >= 0
    assert seen.sum() > 10
    np.testing.assert_allclose(
        tf.gather(table.rows, live[seen]), static.embeddings.numpy()[seen], atol=1e-6
    )


def test_a_checkpoint_restores_it_exactly(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    batches = [tf.constant(rng.integers(-99, 99, (20, F))) for _ in range(8)]
    config = {"min_count": 2, "half_life": 25.0}
    one = _Traced(**config)
    for batch in batches[:6]:
        rows, slots, _ = one.train_lookup(batch)
        one.apply_gradients(slots, tf.ones_like(rows))
    path = tf.train.Checkpoint(table=one.table).write(f"{tmp_path}/table")
    two = _Traced(**config)
    tf.train.Checkpoint(table=two.table).read(path).assert_consumed()
    for batch in batches[6:]:
        for traced in (one, two):
            rows, slots, _ = traced.train_lookup(batch)
            traced.apply_gradients(slots, tf.ones_like(rows))
    assert one.table.statistics()["evictions"] > 0
    for mine, restored in zip(one.table.variables, two.table.variables, strict=True):
        np.testing.assert_array_equal(mine, restored)


def test_fills_up_before_it_evicts() -> None:
    table = DynamicTable(dim=1, capacity=4096, num_fields=1, min_count=1)
    train_lookup = tf.function(table.train_lookup, autograph=False)
    keys = np.random.default_rng(0).integers(INT64.min, INT64.max, [4096, 1])
    for part in np.split(keys, 16):
        train_lookup(tf.constant(part))
        if table.statistics()["evictions"] or table.statistics()["live_rows"] % 256:
            break
    # Two choices of the emptier bucket: the first key without an empty slot comes late.
    assert table.statistics()["live_rows"] > 0.8 * table.capacity


@pytest.mark.parametrize(("asked", "got"), [(1, 64), (64, 64), (65, 128), (1 << 18, 1 << 18)])
def test_capacity_is_rounded_up_to_a_power_of_two(asked: int, got: int) -> None:
    assert DynamicTable(dim=1, capacity=asked, num_fields=1).capacity == got


@pytest.mark.parametrize(
    "wrong",
    [{"dim": 0}, {"capacity": 0}, {"num_fields": 0}, {"min_count": 0}, {"half_life": 0}]
    + [{"initial_accumulator": 0.0}],
)
def test_bad_arguments(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}` should be .* Received: {name}={value}"):
        DynamicTable(**{"dim": D, "capacity": 64, "num_fields": F, **wrong})


def test_seeds_change_the_rows() -> None:
    rows = [DynamicTable(dim=D, capacity=64, num_fields=F, seed=s).rows.numpy() for s in (0, 1)]
    assert np.abs(rows[0][64:] - rows[1][64:]).max() > 0.01
