from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models.embeddings import DynamicTable, ExportedTable

F, D = 3, 4


def _trained(steps: int) -> tuple[DynamicTable, np.ndarray]:
    """A table after some steps, and keys that it knows and does not know."""
    table = DynamicTable(dim=D, capacity=64, num_fields=F, min_count=1)
    train_lookup = tf.function(table.train_lookup, autograph=False)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows, slots, _ = train_lookup(tf.constant(rng.integers(-60, 60, (9, F))))
        table.apply_gradients(slots, tf.random.stateless_normal(rows.shape, [1, 2]))
    odd = [[0, -1, 1], [np.iinfo(np.int64).min, np.iinfo(np.int64).max, 10**6]]
    return table, np.concatenate([rng.integers(-70, 70, (200, F)), odd])


@pytest.mark.parametrize("steps", [0, 20])
def test_reads_the_same_rows(steps: int) -> None:
    table, keys = _trained(steps)
    exported = ExportedTable(table)
    expected = table.lookup(tf.constant(keys)).numpy()
    np.testing.assert_array_equal(exported.lookup(tf.constant(keys)), expected)
    assert exported.num_keys == table.statistics()["live_rows"]
    unknown = table.find(tf.constant(keys.reshape(-1))).numpy().reshape(-1, F) < 0
    assert unknown.any()
    shared = np.broadcast_to(table.rows[table.capacity :], expected.shape)
    np.testing.assert_array_equal(expected[unknown], shared[unknown])


def test_is_a_copy() -> None:
    table, keys = _trained(20)
    exported = ExportedTable(table)
    expected = exported.lookup(tf.constant(keys)).numpy()
    table.rows.assign(tf.zeros_like(table.rows))
    np.testing.assert_array_equal(exported.lookup(tf.constant(keys)), expected)


@pytest.mark.parametrize("steps", [0, 20])
def test_saved_model_loads_in_tf2_and_in_a_session(tmp_path: Path, steps: int) -> None:
    table, keys = _trained(steps)
    expected = table.lookup(tf.constant(keys)).numpy()
    module = tf.Module()
    module.table = ExportedTable(table)
    module.lookup = tf.function(
        lambda keys: {"rows": module.table.lookup(keys)}, [tf.TensorSpec([None, F], tf.int64)]
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.lookup)

    loaded = tf.saved_model.load(str(tmp_path))
    read = loaded.signatures["serving_default"](keys=tf.constant(keys))["rows"]
    np.testing.assert_array_equal(read, expected)

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        read = session.run(signature.outputs["rows"].name, {signature.inputs["keys"].name: keys})
    np.testing.assert_array_equal(read, expected)


def test_rows_are_variables_and_not_constants(tmp_path: Path) -> None:
    table = DynamicTable(dim=64, capacity=1 << 13, num_fields=F, min_count=1)
    table.train_lookup(tf.reshape(tf.range(3 * 2000, dtype=tf.int64), [-1, F]))
    module = tf.Module()
    module.table = ExportedTable(table)
    module.lookup = tf.function(module.table.lookup, [tf.TensorSpec([None, F], tf.int64)])
    tf.saved_model.save(module, str(tmp_path), signatures=module.lookup)
    assert module.table.num_keys > 5000
    weights = sum(file.stat().st_size for file in (tmp_path / "variables").iterdir())
    assert weights > 5000 * (64 * 4 + 8)
    assert (tmp_path / "saved_model.pb").stat().st_size < 200_000
