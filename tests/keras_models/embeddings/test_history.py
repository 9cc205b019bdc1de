"""Keys of histories: they read rows and let them learn, and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    DynamicTable,
    Embedded,
    ExpireAfter,
    ExportedEmbedding,
    FieldQuotas,
    LazyAdam,
    MinCount,
    Policy,
)

from .. import gpu_kernels
from .reference_table import crowd, slots_of

FIELDS = ("a", "b", "c")
DIMS = {"b": 2}
HISTORY = ("c", "b", "a")
"""Widths 4, 2 and 4: of two tables, in another order than the fields."""
B, T, WIDTH, HISTORY_WIDTH = 30, 5, 10, 10
EVERYTHING = Policy(
    admission=MinCount(2),
    score=DecayedCount(6.0, weights={"a": 2.0, "c": math.inf}),
    expiry=ExpireAfter(2),
    quotas=FieldQuotas({"a": 0.2}),
)


def _embedding(**changes: object) -> DynamicEmbedding:
    config = {
        "fields": FIELDS,
        "dim": 4,
        "dims": DIMS,
        "capacity": 64,
        "policy": EVERYTHING,
        "history_fields": HISTORY,
    }
    return DynamicEmbedding(DynamicEmbeddingConfig(**{**config, **changes}))


def _batches(steps: int) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Keys, days, histories and gradients; keys come and go, few of field c, which is pinned."""
    for step in range(steps):
        rng = np.random.default_rng(step)
        keys = [
            rng.zipf(1.3, B) % 200 + step,
            1000 + rng.integers(step, step + 60, B),
            2000 + rng.integers(0, 9, B),
        ]
        # Some are of this step or of earlier ones, some never occur elsewhere, some are no one's.
        history = [
            2000 + rng.integers(0, 12, (B, T)),
            1000 + rng.integers(max(0, step - 20), step + 70, (B, T)),
            rng.zipf(1.3, (B, T)) % 200 + step - rng.integers(0, 9, (B, T)),
        ]
        history = np.where(rng.random((B, T, 1)) < 0.2, 0, np.stack(history, axis=2))
        day = step // 4 - rng.integers(0, 2, B)
        gradients = Embedded(
            tf.constant(rng.normal(size=(B, WIDTH)), tf.float32),
            tf.constant(rng.normal(size=(B, T, HISTORY_WIDTH)), tf.float32),
        )
        yield tf.constant(np.stack(keys, axis=1)), tf.constant(day), tf.constant(history), gradients


def _train(embedding: DynamicEmbedding, steps: int, *, history: bool, learns: bool) -> None:
    @tf.function(autograph=False, reduce_retracing=True)
    def step(keys, day, behaviours, gradients):  # type: ignore[no-untyped-def]
        embedded, lookup = embedding.train_lookup(keys, None, day, behaviours)
        assert (embedded.history is None) == (behaviours is None)
        embedding.apply_gradients(lookup, gradients)

    for keys, day, behaviours, gradients in _batches(steps):
        of_history = gradients.history if learns else tf.zeros_like(gradients.history)
        if history:
            step(keys, day, behaviours, Embedded(gradients.fields, of_history))
        else:
            step(keys, day, None, Embedded(gradients.fields))


@pytest.mark.parametrize("policy", [EVERYTHING, Policy(score=DecayedCount(50.0))])
def test_no_count_score_or_row_comes_or_goes(policy: Policy) -> None:
    without, beside = _embedding(policy=policy), _embedding(policy=policy)
    _train(without, 40, history=False, learns=True)
    _train(beside, 40, history=True, learns=True)
    counts = without.statistics()
    assert beside.statistics() == counts
    assert beside.hits_by_field() == without.hits_by_field()
    assert min(counts["evictions"], counts["live_rows"], counts["hits"]) > 40
    differs = 0
    for mine, theirs in zip(beside.variables, without.variables, strict=True):
        if mine.name.startswith("records"):
            differs += bool((mine.numpy() != theirs.numpy()).any())
        else:
            np.testing.assert_array_equal(mine, theirs, err_msg=mine.name)
    assert differs == 2


@pytest.mark.parametrize("optimizer", [Adagrad(), LazyAdam()])
def test_what_gets_no_gradient_from_histories_alone_stays(optimizer: object) -> None:
    """Padding never moves anything, whatever its gradient is."""
    embedding = _embedding(optimizer=optimizer)
    _train(embedding, 8, history=True, learns=True)
    before = [table.records.numpy() for table in embedding.tables]
    keys = next(_batches(1))[0]
    nothing = tf.zeros([B, T, len(HISTORY)], tf.int64)
    embedded, lookup = embedding.train_lookup(keys, history_keys=nothing)
    assert not embedded.history.numpy().any()
    ones = tf.ones([B, T, HISTORY_WIDTH])
    embedding.apply_gradients(lookup, Embedded(tf.zeros_like(embedded.fields), ones))
    for table, records in zip(embedding.tables, before, strict=True):
        assert not records[-1, : table.dim].any()
        np.testing.assert_array_equal(table.records[-1, : table.dim], records[-1, : table.dim])
    again = embedding(keys, nothing)
    assert not again.history.numpy().any()


def test_reads_the_rows_of_its_fields() -> None:
    embedding = _embedding()
    _train(embedding, 20, history=True, learns=True)
    keys, day, history, _ = list(_batches(21))[-1]
    embedded, _ = embedding.train_lookup(keys, None, day, history)
    read = embedding(keys, history)
    np.testing.assert_array_equal(embedded.fields, read.fields)
    np.testing.assert_array_equal(embedded.history, read.history)
    own = 0
    of_column = np.split(read.history.numpy(), np.cumsum([4, 2]), axis=2)
    for column, field in enumerate(HISTORY):
        at = FIELDS.index(field)
        for step in range(T):
            as_field = np.full([B, len(FIELDS)], -1)
            as_field[:, at] = history[:, step, column]
            rows = np.split(embedding(tf.constant(as_field)).fields, np.cumsum([4, 2]), axis=1)[at]
            there = history[:, step, column].numpy() != 0
            np.testing.assert_array_equal(
                of_column[column][:, step], np.where(there[:, None], rows, 0.0)
            )
            unknown = embedding(tf.constant([[-1, -1, -1]], tf.int64)).fields
            shared = np.split(unknown.numpy(), np.cumsum([4, 2]), axis=1)[at]
            own += int((rows[there] != shared).any(axis=1).sum())
    assert 20 < own < B * T * len(HISTORY) - 20


def test_a_row_learns_from_the_sum_over_fields_and_histories() -> None:
    """Of one key in a field, in two histories and, as the field's shared row, of an unknown one."""
    embedding = _embedding(
        policy=Policy(admission=MinCount(1)),
        optimizer=Adagrad(learning_rate=0.1, initial_accumulator=0.5),
    )
    keys = tf.constant([[7, 8, 9], [7, 18, 9]], tf.int64)
    embedding.train_lookup(keys)
    # Columns c, b, a. 0 is a key of no one; 99 has no row.
    history = tf.constant([[[9, 8, 7], [99, 99, 7]], [[0, 0, 0], [9, 99, 99]]], tf.int64)
    before = embedding(keys, history)
    embedded, lookup = embedding.train_lookup(keys, history_keys=history)
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(2, WIDTH)).astype(np.float32)
    behaviours = rng.normal(size=(2, 2, HISTORY_WIDTH)).astype(np.float32)
    embedding.apply_gradients(lookup, Embedded(tf.constant(fields), tf.constant(behaviours)))
    after = embedding(keys, history)

    def moved(row: np.ndarray, *gradients: np.ndarray) -> np.ndarray:
        total = np.sum(gradients, axis=0, dtype=np.float64)
        return row - 0.1 * total / np.sqrt(0.5 + total**2)

    a, b, c = (slice(0, 4), slice(4, 6), slice(6, 10))
    of_c, of_b, of_a = (slice(0, 4), slice(4, 6), slice(6, 10))
    near = {"atol": 1e-6, "rtol": 0}
    seven = moved(
        before.fields[0, a],
        fields[0, a],
        fields[1, a],
        behaviours[0, 0, of_a],
        behaviours[0, 1, of_a],
    )
    np.testing.assert_allclose(after.fields[0, a], seven, **near)
    np.testing.assert_allclose(after.history[0, 1, of_a], seven, **near)
    eight = moved(before.fields[0, b], fields[0, b], behaviours[0, 0, of_b])
    np.testing.assert_allclose(after.fields[0, b], eight, **near)
    np.testing.assert_allclose(after.fields[1, b], moved(before.fields[1, b], fields[1, b]), **near)
    nine = moved(
        before.fields[0, c],
        fields[0, c],
        fields[1, c],
        behaviours[0, 0, of_c],
        behaviours[1, 1, of_c],
    )
    np.testing.assert_allclose(after.history[1, 1, of_c], nine, **near)
    shared_b = moved(before.history[0, 1, of_b], behaviours[0, 1, of_b], behaviours[1, 1, of_b])
    np.testing.assert_allclose(after.history[1, 1, of_b], shared_b, **near)
    np.testing.assert_allclose(
        after.history[0, 1, of_c], moved(before.history[0, 1, of_c], behaviours[0, 1, of_c]), **near
    )
    assert not after.history[1, 0].numpy().any()


def test_a_key_that_this_step_evicts_reads_the_shared_row() -> None:
    table = DynamicTable(
        dim=2,
        capacity=64,
        fields=("a",),
        history_fields=("a",),
        policy=Policy(admission=MinCount(1), score=DecayedCount(1e6)),
    )
    *old, new = crowd(table, 18)[1:]  # 0, the first, is no one's key in a history.
    for times, key in enumerate(old, 1):
        table.train_lookup(tf.constant([[key]] * times, tf.int64))
    weakest = old[0]
    assert -1 not in slots_of(table, old)
    lookup = table.train_lookup(
        tf.constant([[new]] * 9, tf.int64), history_keys=tf.constant([[weakest], [new]], tf.int64)
    )
    assert slots_of(table, [weakest]) == [-1] and -1 not in slots_of(table, [*old[1:], new])
    slots = tf.gather(lookup.slots, lookup.history).numpy().tolist()
    assert slots == [table.capacity, *slots_of(table, [new])]
    read = tf.gather(lookup.rows, lookup.history)
    np.testing.assert_array_equal(read[0], table.shared_rows()[0])
    assert len(set(lookup.slots.numpy().tolist())) == len(lookup.slots)


def test_the_key_0_of_a_field_has_a_row_like_any_other() -> None:
    embedding = _embedding(policy=Policy(admission=MinCount(1)))
    keys = tf.zeros([2, 3], tf.int64)
    history = tf.zeros([2, T, 3], tf.int64)
    embedded, lookup = embedding.train_lookup(keys, history_keys=history)
    assert embedding.statistics()["live_rows"] == 2
    ones = Embedded(tf.ones_like(embedded.fields), tf.ones_like(embedded.history))
    embedding.apply_gradients(lookup, ones)
    after = embedding(keys, history)
    # Four and two places of fields read it; the padding would move it further.
    for part, total in ((slice(0, 4), 4.0), (slice(4, 6), 2.0)):
        moved = embedded.fields.numpy()[:, part] - 0.05 * total / math.sqrt(0.1 + total**2)
        np.testing.assert_allclose(after.fields[:, part], moved, atol=1e-6)
    assert not after.history.numpy().any()


@pytest.mark.parametrize("min_score", [0.0, 3.0])
def test_the_exported_form_reads_the_same(min_score: float) -> None:
    embedding = _embedding(serving_min_score=min_score, policy=Policy(score=DecayedCount(30.0)))
    _train(embedding, 20, history=True, learns=True)
    keys, _, history, _ = list(_batches(21))[-1]
    exported = ExportedEmbedding(embedding)(keys, history)
    trained = embedding(keys, history)
    same = (exported.history.numpy() == trained.history.numpy()).all(axis=2)
    there = (history.numpy() != 0).all(axis=2)
    assert same[~there].all() and (~there).any()
    if min_score == 0.0:
        np.testing.assert_array_equal(exported.history, trained.history)
        np.testing.assert_array_equal(exported.fields, trained.fields)
    else:
        assert 0 < same[there].sum() < there.sum()


def _step(embedding: DynamicEmbedding, *history: tf.TensorSpec) -> tf.Graph:
    def step(keys: tf.Tensor, *behaviours: tf.Tensor) -> None:
        embedded, lookup = embedding.train_lookup(keys, None, None, *behaviours)
        embedding.apply_gradients(lookup, embedded)

    specs = [tf.TensorSpec([None, 3], tf.int64), *history]
    return tf.function(step, specs, autograph=False).get_concrete_function().graph


HISTORY_SPEC = tf.TensorSpec([None, T, 3], tf.int64)


def test_without_histories_the_step_has_the_same_ops() -> None:
    def ops(embedding: DynamicEmbedding, *history: tf.TensorSpec) -> Counter[str]:
        return Counter(op.type for op in _step(embedding, *history).get_operations())

    plain = ops(_embedding(history_fields=()))
    assert ops(_embedding()) == plain
    assert ops(_embedding(), HISTORY_SPEC)["Unique"] > plain["Unique"]


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="no GPU kernels in this build")
def test_a_step_with_histories_can_stay_on_the_gpu() -> None:
    for optimizer in (Adagrad(), LazyAdam()):
        graph = _step(_embedding(optimizer=optimizer), HISTORY_SPEC)
        assert gpu_kernels.for_the_host(graph) == []
        assert gpu_kernels.moved(graph) == []


def test_refuses_other_shapes_and_unknown_fields() -> None:
    keys = tf.zeros([2, 3], tf.int64)
    embedding = _embedding()
    for shape in ([2, T, 2], [2, 3], [2, T, 4]):
        for read in (embedding, embedding.train_lookup):
            with pytest.raises(ValueError, match=r"\[B, T, 3\] with a fixed T.* Received: "):
                read(keys, history_keys=tf.zeros(shape, tf.int64))
    with pytest.raises(ValueError, match="absent without `history_fields`"):
        _embedding(history_fields=())(keys, tf.zeros([2, T, 0], tf.int64))
    with pytest.raises(ValueError, match="`history_fields` should be among the fields a, b, c"):
        _embedding(history_fields=("d",))
