from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import (
    CountUpdates,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExportedEmbedding,
    FieldQuotas,
    MinCount,
    Policy,
    SyncState,
)


def _embedding(**policy: object) -> DynamicEmbedding:
    return DynamicEmbedding(
        DynamicEmbeddingConfig(
            fields=("a", "b"),
            dim=4,
            capacity=64,
            policy=Policy(admission=MinCount(1), sync=CountUpdates(), **policy),  # type: ignore[arg-type]
        )
    )


def _step(embedding: DynamicEmbedding, keys: list[list[int]], day: int) -> None:
    embedding.train_lookup(
        tf.constant(keys, tf.int64), day=tf.fill([len(keys)], tf.constant(day, tf.int64))
    )


def _of(state: SyncState, key: int) -> tuple[int, int, str]:
    (place,) = np.flatnonzero(state.keys == key)
    return (
        int(state.updates[place]),
        int(state.born[place]),
        state.fields[int(state.field[place])],
    )


@pytest.mark.parametrize(
    "policy", [{}, {"score": DecayedCount(half_life=1e6)}, {"quotas": FieldQuotas({"a": 0.5})}]
)
def test_counts_steps_and_remembers_the_first(policy: dict[str, object]) -> None:
    embedding = _embedding(**policy)
    # In a step a row is taught once, however many examples read it.
    _step(embedding, [[1, 2], [1, 3]], day=7)
    _step(embedding, [[1, 2], [4, 3]], day=8)
    _step(embedding, [[1, 5]], day=9)
    (state,) = embedding.sync_states()
    assert state.day == 9
    assert {int(key): _of(state, int(key)) for key in state.keys} == {
        1: (3, 7, "a"),
        2: (2, 7, "b"),
        3: (2, 7, "b"),
        4: (1, 8, "a"),
        5: (1, 9, "b"),
    }


def test_rows_are_in_the_order_of_the_export() -> None:
    embedding = _embedding()
    _step(embedding, np.arange(40).reshape(20, 2).tolist(), day=1)
    (state,) = embedding.sync_states()
    np.testing.assert_array_equal(state.keys, ExportedEmbedding(embedding).tables[0].keys.numpy())


def test_a_checkpoint_carries_the_lineage_on(tmp_path: Path) -> None:
    first, second = _embedding(), _embedding()
    _step(first, [[1, 2]], day=3)
    assert first.sync_states()[0].lineage != second.sync_states()[0].lineage
    tf.train.Checkpoint(e=first).write(str(tmp_path / "c"))
    tf.train.Checkpoint(e=second).read(str(tmp_path / "c")).assert_consumed()
    one, other = first.sync_states()[0], second.sync_states()[0]
    assert one.lineage == other.lineage
    np.testing.assert_array_equal(one.updates, other.updates)
