from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from keras_models.embeddings import (
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExportedEmbedding,
    MinCount,
    Policy,
)
from keras_models.embeddings.stored_rows import StoredRows

ROWS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    elements=st.floats(-60_000, 60_000, width=32),
)


def _read(rows: Any, kind: Any) -> np.ndarray:
    stored = StoredRows(tf.constant(rows, tf.float32), kind)
    return stored.gather(tf.range(len(rows), dtype=tf.int64)).numpy()


def _float16_bound(rows: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(rows) * 2.0**-11, 2.0**-25)


def _int8_bound(rows: np.ndarray) -> np.ndarray:
    # Half a step, and what dividing and multiplying in float32 adds to it.
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    return np.maximum(step * (0.5 + 127 * 2.0**-22), 1e-37) * np.ones_like(rows)


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_float32_is_exact(rows: np.ndarray) -> None:
    np.testing.assert_array_equal(_read(rows, "float32"), rows)


@pytest.mark.parametrize(("kind", "bound"), [("float16", _float16_bound), ("int8", _int8_bound)])
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_error_bounds(
    kind: str, bound: Callable[[np.ndarray], np.ndarray], rows: np.ndarray
) -> None:
    assert (np.abs(_read(rows, kind) - rows) <= bound(rows)).all()


def test_by_hand() -> None:
    rows = [[127.0, -63.6, 0.4, 0.0], [-2.54, 0.02, 0.009, 1.27], [0.0] * 4]
    expected = [[127, -64, 0, 0], [-2.54, 0.02, 0, 64 * 0.02], [0.0] * 4]
    np.testing.assert_allclose(_read(rows, "int8"), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        _read([[1.0, 1 + 2.0**-11 + 2.0**-20]], "float16"), [[1.0, 1 + 2.0**-10]]
    )


@pytest.mark.parametrize(
    ("kind", "size"), [("float32", 4 * 70), ("float16", 2 * 70), ("int8", 70 + 4 * 7)]
)
def test_bytes(kind: Any, size: int) -> None:
    assert StoredRows(tf.ones([7, 10]), kind).num_bytes == size


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_what_is_no_number_stays_none(kind: Any) -> None:
    read = _read([[1.0, 2.0], [np.nan, 1.0], [1.0, -np.inf]], kind)
    assert np.isfinite(read[0]).all()
    assert not np.isfinite(read[1, 0]) and not np.isfinite(read[2, 1])


def test_a_number_that_float16_does_not_hold() -> None:
    with pytest.raises(ValueError, match="found -70000; expected at most 65504 in size"):
        StoredRows(tf.constant([[1.0, -7e4]]), "float16")


@pytest.mark.parametrize(("kind", "atol"), [("float16", 2.0**-11), ("int8", 0.5 / 127)])
def test_an_embedding_reads_fields_and_histories_from_them(
    kind: Any, atol: float, tmp_path: Path
) -> None:
    config = DynamicEmbeddingConfig(
        fields=("user", "item", "tag"),
        dim=4,
        dims={"tag": 2},
        capacity=256,
        policy=Policy(admission=MinCount(1)),
        history_fields=("item",),
    )
    embedding = DynamicEmbedding(config)
    keys = tf.constant(np.arange(1, 31).reshape(10, 3), tf.int64)
    embedding.train_lookup(keys)
    for table in embedding.tables:
        table.records.assign(tf.random.stateless_uniform(table.records.shape, [3, 1], -1, 1))
    history = tf.constant([[[2], [0], [999]]] * 10, tf.int64)
    asked = tf.concat([keys, [[998, 999, 1000]]], axis=0)
    asked_history = tf.concat([history, history[:1]], axis=0)
    exact, narrow = ExportedEmbedding(embedding), ExportedEmbedding(embedding, kind)
    for expected, found in zip(
        exact(asked, asked_history), narrow(asked, asked_history), strict=True
    ):
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
        assert np.abs(found - expected).max() > 1e-6
    np.testing.assert_array_equal(narrow(asked, asked_history).history[:, 1], np.zeros([11, 4]))
    (tags,) = narrow.read_fields(asked, [2])
    np.testing.assert_array_equal(tags, narrow(asked).fields[:, 8:])

    narrow.read = tf.function(
        lambda keys: {"fields": narrow(keys).fields},
        input_signature=[tf.TensorSpec([None, 3], tf.int64)],
    )
    tf.saved_model.save(narrow, str(tmp_path / "m"), signatures=narrow.read)
    loaded = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    np.testing.assert_array_equal(loaded(keys=asked)["fields"], narrow(asked).fields)
