from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings.sketch import CountMinSketch

_COUNTS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(1, 5), min_size=1)


def _tensors(counts: dict[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
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
