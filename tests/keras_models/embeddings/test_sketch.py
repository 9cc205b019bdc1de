from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings.sketch import CountMinSketch

from .reference_table import ReferenceSketch

_COUNTS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(1, 5), min_size=1)


def _tensors(counts: Mapping[int, float]) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(list(counts), tf.int64), tf.constant(list(counts.values()), tf.float32)


@settings(deadline=None, max_examples=30)
@given(st.lists(_COUNTS, min_size=1, max_size=5))
def test_never_estimates_too_low(stream: list[dict[int, int]]) -> None:
    sketch = CountMinSketch(8, salt=1)
    total: Counter[int] = Counter()
    for counts in stream:
        total.update(counts)
        estimates = sketch.add(*_tensors(counts)).numpy()
        for key, estimate in zip(counts, estimates, strict=True):
            assert estimate >= total[key]


@settings(deadline=None, max_examples=30)
@given(st.lists(_COUNTS, min_size=1, max_size=5), st.integers(5, 40), st.floats(0.125, 3, width=32))
def test_is_the_plain_sketch(stream: list[dict[int, int]], width: int, unit: float) -> None:
    """Bit for bit, with collisions and whatever `remove` leaves."""
    sketch, plain = CountMinSketch(width, salt=1), ReferenceSketch(width, salt=1)
    for counts in stream:
        weights = {key: np.float32(count) * np.float32(unit) for key, count in counts.items()}
        keys, values = _tensors(weights)
        estimates = plain.add(weights)
        np.testing.assert_array_equal(sketch.add(keys, values), list(estimates.values()))
        some = dict(list(estimates.items())[::2])
        plain.remove(some)
        sketch.remove(*_tensors(some))
        np.testing.assert_array_equal(sketch.cells, plain.cells.reshape(-1))


def test_scales_every_count() -> None:
    sketch = CountMinSketch(8, salt=1)
    keys = tf.range(20, dtype=tf.int64)
    counts = sketch.add(keys, tf.range(20.0))
    sketch.scale(tf.constant(0.25))
    np.testing.assert_array_equal(sketch.add(keys, tf.zeros([20])), counts / 4)


def test_is_exact_while_keys_are_few() -> None:
    sketch = CountMinSketch(1 << 16, salt=1)
    counts = {key: 1 + key % 7 for key in range(-20, 20)}
    sketch.add(*_tensors(counts))
    keys, weights = _tensors(counts)
    np.testing.assert_array_equal(sketch.add(keys, weights), 2 * weights)


@settings(deadline=None, max_examples=30)
@given(_COUNTS)
def test_removed_keys_start_from_nothing_and_no_cell_is_negative(counts: dict[int, int]) -> None:
    sketch = CountMinSketch(8, salt=1)
    keys, weights = _tensors(counts)
    estimates = sketch.add(keys, weights)
    sketch.remove(keys, estimates)
    assert sketch.cells.numpy().min() >= 0
    one = keys[:1]
    if len(counts) == 1:
        assert sketch.add(one, tf.constant([1.0])).numpy() == [1.0]
