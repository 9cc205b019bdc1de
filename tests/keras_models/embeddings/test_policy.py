from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import (
    DecayedCount,
    DynamicTable,
    ExpireAfter,
    FieldQuotas,
    LowestScore,
    MinCount,
    Policy,
)
from keras_models.embeddings.dynamic_table import ROW_LIMIT
from keras_models.embeddings.hashing import uniform_rows
from keras_models.embeddings.policy import Moment, Reads, RowState

from .reference_table import WAYS, crowd, in_field, known, slots_of, train

INT64 = np.iinfo(np.int64)
LONG = 1e12
"""A half-life that lets nothing fade."""
AT_ONCE = Policy(MinCount(1), DecayedCount(LONG))
NOW = Moment(tf.constant(7.0), tf.constant(10.0), tf.constant(4.0))
READS = Reads(tf.constant([1.0, 3.0]), tf.constant([0, 2], tf.int64), NOW)


def _rows(**columns: list[float]) -> RowState:
    return {name: tf.constant(values) for name, values in columns.items()}


@pytest.mark.parametrize(
    ("min_count", "faded", "admitted"),
    [(1, [0.5, 1.0], [True, True]), (2, [1.0, 1.49, 1.5, 2.0], [False, False, True, True])],
)
def test_min_count_rounds_faded_counts(
    min_count: int, faded: list[float], admitted: list[bool]
) -> None:
    assert MinCount(min_count).admits(tf.constant(faded)).numpy().tolist() == admitted


def test_decayed_count_adds_occurrences_in_the_units_of_now() -> None:
    touched = DecayedCount().touched(_rows(score=[8.0, math.inf]), READS)
    assert {name: values.numpy().tolist() for name, values in touched.items()} == {
        "score": [8.0 + 1.0 * 4.0, math.inf]
    }


def test_lowest_score_keeps_rows_of_the_step() -> None:
    eviction = LowestScore()
    rank = eviction.rank(_rows(score=[5.0, 3.0, math.inf], step=[6.0, 7.0, 1.0]), NOW)
    assert rank.numpy().tolist() == [5.0, math.inf, math.inf]
    touched = eviction.touched(_rows(score=[1.0, 1.0], step=[1.0, 2.0]), READS)
    assert touched["step"].numpy().tolist() == [7.0, 7.0]


def test_expiry_counts_days_since_last_read() -> None:
    expiry = ExpireAfter(3)
    rows = _rows(score=[1.0, 1.0, 1.0, math.inf], day=[10.0, 7.0, 6.0, 0.0])
    assert expiry.expired(rows, NOW.day).numpy().tolist() == [False, False, True, False]
    assert expiry.touched(rows, READS)["day"].numpy().tolist() == [10.0, 10.0]


def test_a_row_stays_with_the_field_that_brought_it() -> None:
    quotas = FieldQuotas({"a": 0.5})
    fresh = _rows(field=[0.0, 0.0])
    assert quotas.field(fresh).numpy().tolist() == [-1, -1]
    brought = quotas.touched(fresh, READS)
    assert quotas.field(brought).numpy().tolist() == [0, 2]
    again = quotas.touched(brought, READS._replace(field=tf.constant([1, 1], tf.int64)))
    assert quotas.field(again).numpy().tolist() == [0, 2]


def test_a_policy_needs_the_columns_of_its_parts_once() -> None:
    assert Policy().columns == ("score", "step")
    assert Policy(expiry=ExpireAfter(1)).columns == ("score", "step", "day")
    everything = Policy(expiry=ExpireAfter(1), quotas=FieldQuotas({"a": 0.5}))
    assert everything.columns == ("score", "step", "day", "field")
    assert len(everything.parts) == 5


def test_a_policy_knows_which_fields_it_names() -> None:
    assert Policy().fields == set()
    score = DecayedCount(weights={"a": 2.0})
    assert Policy(score=score, quotas=FieldQuotas({"b": 0.5})).fields == {"a", "b"}


# What they do in a table.


def _table(policy: Policy) -> DynamicTable:
    return DynamicTable(dim=4, capacity=64, fields="abc", policy=policy)


def _occurrences(keys: list[int], times: int = 1) -> np.ndarray:
    """Examples in which nothing else occurs; each key three times `times`."""
    return np.repeat(keys * times, 3).reshape(-1, 3)


@dataclass(frozen=True)
class _FewestSteps(LowestScore):
    """Evicts the row that was read in the fewest steps."""

    columns: ClassVar[tuple[str, ...]] = ("score", "step", "steps")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        return {**super().touched(rows, reads), "steps": rows["steps"] + 1.0}

    def rank(self, rows: RowState, now: Moment) -> tf.Tensor:
        return tf.where(tf.equal(rows["step"], now.step), math.inf, rows["steps"])


@pytest.mark.parametrize(("eviction", "goes"), [(_FewestSteps(), "hot"), (LowestScore(), "old")])
def test_a_policy_of_ones_own_decides(eviction: LowestScore, goes: str) -> None:
    """The table keeps its column and asks it; nothing else has to change."""
    table = _table(Policy(MinCount(1), DecayedCount(LONG), eviction=eviction))
    hot, *old, newcomer = crowd(table, 2 * WAYS + 1)
    train(table, _occurrences([hot], 30))
    for _ in range(5):
        train(table, _occurrences(old))
    train(table, _occurrences([newcomer], 6))
    assert known(table, [newcomer])
    assert len(known(table, [hot])) == (goes != "hot")
    assert len(known(table, old)) == len(old) - (goes == "old")


def test_weights_do_not_buy_admission() -> None:
    table = _table(Policy(MinCount(2), DecayedCount(LONG, weights={"a": 100.0})))
    train(table, [[7, 8, 8]], weight=[50.0])
    assert known(table, [7, 8]) == [8]


def test_keys_of_engaged_examples_outlive_others() -> None:
    table = _table(AT_ONCE)
    keys = crowd(table, 3 * WAYS)
    engaged, others, newcomers = keys[:WAYS], keys[WAYS : 2 * WAYS], keys[2 * WAYS :]
    train(table, _occurrences(engaged + others), weight=[5.0] * WAYS + [1.0] * WAYS)
    train(table, _occurrences(newcomers, 2))
    assert known(table, keys) == engaged + newcomers


def test_scores_are_weighted_by_example_and_field() -> None:
    table = _table(Policy(MinCount(1), DecayedCount(LONG, weights={"a": 2.5, "c": 0.5})))
    train(table, [[7, 8, 9], [7, 7, 9]], weight=[1.0, 3.0])
    scores = table.row_state.numpy()[slots_of(table, [7, 8, 9]), 0]
    np.testing.assert_array_equal(scores, [2.5 + 7.5 + 3.0, 1.0, 0.5 + 1.5])
    assert table.live_slots(13.0).numpy().tolist() == slots_of(table, [7])
    assert len(table.live_slots(1.0)) == 3
    assert len(table.live_slots(13.5)) == 0


def test_an_example_of_no_weight_counts_next_to_nothing() -> None:
    """Its keys are admitted, the first to go, and pinned where their field is."""
    table = _table(Policy(MinCount(1), DecayedCount(LONG, weights={"c": math.inf})))
    *keys, pinned, newcomer = crowd(table, 2 * WAYS + 1)
    lookup = train(table, in_field(table, "c", [pinned] * len(keys), keys[0]), [0.0] * len(keys))
    assert len(set(lookup.slots[:2].numpy().tolist())) == 2
    for key in keys:
        train(table, [[key, key, pinned]], [0.0 if key == keys[3] else 1.0])
    scores = table.row_state.numpy()[slots_of(table, [keys[3], pinned]), 0]
    np.testing.assert_array_equal(scores, np.array([2e-6, math.inf], np.float32))
    train(table, [[newcomer, newcomer, pinned]], [0.001])
    assert known(table, [*keys, pinned, newcomer]) == [*keys[:3], *keys[4:], pinned, newcomer]


@pytest.mark.parametrize("half_life", [LONG, 0.3, 1e-3])
def test_pinned_rows_stay(half_life: float) -> None:
    """Admitted at first sight, never evicted, expired, or anything but infinite."""
    score = DecayedCount(half_life, weights={"a": math.inf})
    table = _table(Policy(MinCount(3), score, expiry=ExpireAfter(1)))
    keys = crowd(table, 4 * WAYS)
    pinned, others = keys[:WAYS], keys[WAYS:]
    train(table, in_field(table, "a", pinned, elsewhere=pinned[0]), day=[0] * WAYS)
    assert known(table, pinned) == pinned
    slots = slots_of(table, pinned)
    records = table.records.numpy()[slots]
    # From now on nothing reads any of them but the first.
    for day in range(5):
        batch = in_field(table, "b", others * 3, elsewhere=pinned[0])
        train(table, batch, day=[day] * len(batch))
    assert slots_of(table, pinned) == slots
    assert len(known(table, others)) == WAYS
    np.testing.assert_array_equal(table.records.numpy()[slots[1:]], records[1:])
    assert np.isinf(table.row_state.numpy()[slots, 0]).all()
    assert table.live_slots(1e30).numpy().tolist() == sorted(slots)


def test_pinned_newcomers_take_any_row_that_is_not_pinned_or_of_this_step() -> None:
    table = _table(Policy(MinCount(3), DecayedCount(LONG, weights={"a": math.inf})))
    keys = crowd(table, 3 * WAYS)
    others, pinned, late = keys[: 2 * WAYS - 1], keys[2 * WAYS - 1 : -1], keys[-1]
    for _ in range(9):
        train(table, in_field(table, "b", others, elsewhere=pinned[0]))
    assert known(table, keys) == [*others, pinned[0]]
    in_step = others[:WAYS]
    train(table, np.stack([pinned, in_step, in_step], axis=1))
    assert known(table, keys) == in_step + pinned
    train(table, np.stack([[late] * WAYS, in_step, in_step], axis=1))
    assert known(table, keys) == in_step + pinned
    train(table, [[late, pinned[0], pinned[0]]])
    assert known(table, [*pinned, late]) == [*pinned, late]
    assert len(known(table, in_step)) == WAYS - 1


def test_a_full_field_replaces_its_own_lowest() -> None:
    table = _table(Policy(MinCount(1), DecayedCount(LONG), quotas=FieldQuotas({"a": 0.1})))
    quota = 6  # A tenth of 64, rounded down.
    keys = crowd(table, 2 * WAYS)
    first, (second, third), others = keys[:quota], keys[quota : quota + 2], keys[quota + 2 :]

    def occur(key: int, times: int) -> None:
        train(table, in_field(table, "a", [key] * times, elsewhere=others[0]))

    for rank, key in enumerate(first):
        occur(key, 2 * (1 + rank))
    assert known(table, keys) == first + others[:1]
    # There is room in the table, but not for this field.
    occur(second, 2)
    assert known(table, keys) == first + others[:1]
    # With a count of 3, less what of it has faded, it beats the field's lowest, 2; the next one
    # needs more than that.
    occur(second, 1)
    assert known(table, keys) == [*first[1:], second, others[0]]
    occur(third, 2)
    assert known(table, keys) == [*first[1:], second, others[0]]
    occur(third, 2)
    assert known(table, keys) == [*first[1:], third, others[0]]
    assert table.rows_of_field.numpy().tolist() == [quota, 0, 1]
    # The other fields take what is left.
    train(table, in_field(table, "b", others, elsewhere=others[0]))
    assert known(table, others) == others


def test_a_flood_in_one_field_starves_no_other() -> None:
    rng = np.random.default_rng()
    few = rng.integers(INT64.min, INT64.max, 10).tolist()
    left = []
    for quotas in (None, FieldQuotas({"a": 0.5})):
        table = _table(Policy(MinCount(1), DecayedCount(LONG), quotas=quotas))
        train(table, in_field(table, "b", few, elsewhere=few[0]))
        for _ in range(15):
            flood = rng.integers(INT64.min, INT64.max, 40).tolist()
            train(table, in_field(table, "a", flood * 2, elsewhere=few[0]))
        left.append(len(known(table, few)))
    assert table.rows_of_field.numpy()[0] == 32
    without, with_quota = left
    assert without < with_quota == len(few)


def test_expires_after_days() -> None:
    table = _table(Policy(MinCount(2), DecayedCount(LONG), expiry=ExpireAfter(3)))
    keys, other = [7, 8, 9], [[-5, -5, -5]] * 2
    train(table, [keys, keys], day=[10, 10])
    slots = slots_of(table, keys)
    trained = table.records.numpy()[slots]
    train(table, other, day=[13, 12])
    assert slots_of(table, keys) == slots
    assert set(slots) < set(table.live_slots().numpy().tolist())

    train(table, other, day=[14, 12])
    assert not known(table, keys)
    assert table.live_slots().numpy().tolist() == slots_of(table, [-5])
    read = table.lookup(tf.constant([keys], tf.int64))[0]
    np.testing.assert_array_equal(read, table.shared_rows())
    assert table.statistics()["live_rows"] == 1
    assert table.statistics()["expirations"] == 0

    # They return, and have to earn admission again.
    train(table, [keys], day=[14])
    assert not known(table, keys)
    assert table.statistics()["expirations"] == 3
    lookup = table.train_lookup(tf.constant([keys], tf.int64), day=tf.constant([14], tf.int64))
    assert known(table, keys) == keys
    fresh = uniform_rows(tf.constant(keys, tf.int64), 4, ROW_LIMIT, table._row_salt)
    np.testing.assert_array_equal(lookup.rows[:3], fresh)
    np.testing.assert_array_equal(lookup.optimizer[:3], np.full([3, 4], 0.1, np.float32))
    assert np.abs(trained[:, :4] - fresh).min() > 0.01
    assert table.statistics()["expirations"] == 3
    assert table.statistics()["evictions"] == 0


def test_expired_rows_make_place_before_the_lowest() -> None:
    table = _table(Policy(MinCount(1), DecayedCount(LONG), expiry=ExpireAfter(1)))
    *weak, strong, newcomer = crowd(table, 2 * WAYS + 1)
    train(table, _occurrences([strong], 50), day=[1] * 50)
    train(table, _occurrences(weak), day=[3] * len(weak))
    train(table, _occurrences([newcomer]), day=[3])
    assert known(table, [*weak, strong, newcomer]) == [*weak, newcomer]
    assert table.statistics()["expirations"] == 1
    assert table.statistics()["evictions"] == 0


def test_expired_rows_hold_no_quota() -> None:
    policy = Policy(
        MinCount(1),
        DecayedCount(LONG),
        expiry=ExpireAfter(1),
        quotas=FieldQuotas({"a": 0.01}),
    )
    table = DynamicTable(dim=4, capacity=1000, fields="abc", policy=policy)
    old, new = np.random.default_rng().integers(INT64.min, INT64.max, [2, 20]).tolist()
    for day, keys in [(1, old), (9, new)]:
        train(table, in_field(table, "a", keys, elsewhere=-3), day=[day] * 20)
        assert len(known(table, keys)) == 10
        assert table.rows_of_field.numpy().tolist() == [10, 0, 1]
    assert not known(table, old)


def test_quotas_outlast_a_leap_in_time() -> None:
    """Rows that live on count, after however many half-lives."""
    quotas = FieldQuotas({"a": 0.01})
    table = _table(
        Policy(MinCount(1), DecayedCount(0.01, "days"), expiry=ExpireAfter(9), quotas=quotas)
    )
    one, other = crowd(table, 2)
    for day in (1, 4):
        train(table, in_field(table, "a", [one], elsewhere=-3), day=[day])
        assert table.rows_of_field.numpy().tolist() == [1, 0, 1]
    # Both of its buckets hold the field's only row, which this step reads too.
    train(table, in_field(table, "a", [one, other], elsewhere=-3), day=[7, 7])
    assert known(table, [one, other]) == [one]


def test_the_clock_never_goes_back() -> None:
    table = _table(Policy(MinCount(1), DecayedCount(1.0, "days"), expiry=ExpireAfter(1)))
    for days, clock in [([5, 9, 7], 9), ([3, 3, 3], 9), ([9, 10, 2], 10)]:
        train(table, _occurrences([7, 7, 7]), day=days)
        assert int(table.day) == clock
    # 18 occurrences until day 9, of which half is left, and 9 on day 10.
    scores = table.row_state.numpy()[slots_of(table, [7]), 0] / table._unit()
    np.testing.assert_allclose(scores, 18 / 2 + 9)
    # Read on day 10 by the clock, although two of the three examples are older.
    train(table, _occurrences([8]), day=[11])
    assert known(table, [7]) == [7]
    train(table, _occurrences([8]))
    assert int(table.day) == 11


# Arguments.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinCount(0), "`min_count` should be at least 1. Received: min_count=0"),
        *(
            (
                lambda half_life=half_life: DecayedCount(half_life),
                f"`half_life` should be from 1e-3 to 1e15. Received: half_life={half_life}",
            )
            for half_life in (0, -1.0, 9e-4, 1e16, math.inf, math.nan)
        ),
        (
            lambda: DecayedCount(unit="weeks"),  # type: ignore[arg-type]
            "`unit` should be examples or days. Received: unit=weeks",
        ),
        *(
            (
                lambda weight=weight: DecayedCount(weights={"a": 1.0, "b": weight}),
                "`weights[b]` should be from 1e-6 to 1e6, or infinite. "
                f"Received: weights[b]={weight}",
            )
            for weight in (0.0, -1.0, 9e-7, 2e6, math.nan)
        ),
        (lambda: ExpireAfter(0), "`days` should be at least 1. Received: days=0"),
        (lambda: FieldQuotas({}), "`shares` should be at least one field. Received: shares={}"),
        (
            lambda: FieldQuotas({"a": 1.0, "b": 0.0}),
            "`shares[b]` should be above 0 and at most 1. Received: shares[b]=0.0",
        ),
        (
            lambda: FieldQuotas({"a": 1.5}),
            "`shares[a]` should be above 0 and at most 1. Received: shares[a]=1.5",
        ),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
