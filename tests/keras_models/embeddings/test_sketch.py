from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings.sketch import CountMinSketch

from .reference_table import ReferenceSketch

_COUNTS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(1, 5), min_size=1)


def _tensors(counts: Mapping[int, float]) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(list(counts), tf.int64), tf.constant(list(counts.values()), tf.float32)


def _age(sketch: CountMinSketch) -> float:
    return float(sketch.age)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(_COUNTS, st.floats(0, 3)), min_size=1, max_size=5), st.integers(1, 9))
def test_never_estimates_too_low(stream: list[tuple[dict[int, int], float]], width: int) -> None:
    """However many keys collide, whichever are kept, and however fast it fades."""
    sketch = CountMinSketch(width, salt=1)
    kept: defaultdict[int, float] = defaultdict(float)
    load = 0.0
    for counts, half_lives in stream:
        sketch.fade(tf.constant(half_lives, tf.float64))
        for key in kept:
            kept[key] *= 2.0 ** -max(half_lives, load)
        keys, values = _tensors(counts)
        estimates = sketch.estimate(keys, values)
        for key, estimate in zip(counts, estimates.numpy().tolist(), strict=True):
            assert estimate >= (kept[key] + counts[key]) * (1 - 1e-5)
        # Every other key is given a row, and no longer counted here.
        sketch.keep(keys[::2], estimates[::2], values[::2])
        for key in list(counts)[::2]:
            kept[key] += counts[key]
        load = sum(list(counts.values())[::2]) / (0.5 * width)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(_COUNTS, st.floats(0, 70, allow_subnormal=False)), min_size=1, max_size=5),
    st.integers(5, 40),
)
def test_is_the_plain_sketch(stream: list[tuple[dict[int, int], float]], width: int) -> None:
    """Bit for bit, with collisions."""
    sketch, plain = CountMinSketch(width, salt=1), ReferenceSketch(width, salt=1)
    for counts, half_lives in stream:
        plain.fade(half_lives)
        sketch.fade(tf.constant(half_lives, tf.float64))
        keys, values = _tensors(counts)
        expected = {key: plain.estimate(key, count) for key, count in counts.items()}
        estimates = sketch.estimate(keys, values)
        np.testing.assert_array_equal(estimates, list(expected.values()))
        plain.keep(expected, counts)
        sketch.keep(keys, estimates, values)
        np.testing.assert_array_equal(sketch.cells, plain.cells.reshape(-1))
        assert _age(sketch) == plain.age


def test_counts_fade_by_half_lives() -> None:
    sketch = CountMinSketch(1 << 12, salt=1)
    keys = tf.range(20, dtype=tf.int64)
    sketch.keep(keys, tf.range(20.0), tf.range(20.0))
    sketch.fade(tf.constant(2.0, tf.float64))
    np.testing.assert_array_equal(sketch.estimate(keys, tf.zeros([20])), np.arange(20) / 4)
    sketch.fade(tf.constant(500.0, tf.float64))
    np.testing.assert_array_equal(sketch.estimate(keys, tf.ones([20])), np.ones(20))


def test_half_as_many_occurrences_as_a_row_has_cells_are_a_half_life() -> None:
    sketch = CountMinSketch(64, salt=1)
    sketch.keep(tf.constant([7], tf.int64), tf.constant([8.0]), tf.constant([8.0]))
    sketch.fade(tf.constant(0.0, tf.float64))
    assert _age(sketch) == 0.25
    # They count once, and not beside the time that passes.
    sketch.fade(tf.constant(0.0, tf.float64))
    assert _age(sketch) == 0.25
    sketch.keep(tf.constant([7], tf.int64), tf.constant([8.0]), tf.constant([8.0]))
    sketch.fade(tf.constant(0.5, tf.float64))
    assert _age(sketch) == 0.75


def test_is_exact_while_keys_are_few() -> None:
    sketch = CountMinSketch(1 << 16, salt=1)
    counts = {key: 1 + key % 7 for key in range(-20, 20)}
    keys, values = _tensors(counts)
    sketch.keep(keys, sketch.estimate(keys, values), values)
    np.testing.assert_array_equal(sketch.estimate(keys, values), 2 * values)


@pytest.mark.parametrize("size", [50, 200, 2000])
def test_at_most_one_new_key_in_twenty_seems_old(size: int) -> None:
    """In a stream of new keys alone, of which each half-life brings as many as it likes."""
    width, random = 2_000, np.random.default_rng(3)
    sketch = CountMinSketch(width, salt=1)
    counts = tf.ones([size])
    seem_old = seen = 0
    for step in range(8 * width // size):
        sketch.fade(tf.constant(1e-3, tf.float64))
        keys = tf.constant(random.integers(-(2**63), 2**63, size, np.int64))
        estimates = sketch.estimate(keys, counts)
        old = estimates >= 1.5
        sketch.keep(*(tf.boolean_mask(part, ~old) for part in (keys, estimates, counts)))
        if step * size > 4 * width:
            seem_old += int(tf.reduce_sum(tf.cast(old, tf.int64)))
            seen += size
    assert seen >= 3 * width
    assert seem_old <= 0.05 * seen


def test_recent_keys_are_known_however_many_there_are() -> None:
    """A key that comes again before an eighth of the width of others is counted as two."""
    width, random = 4_000, np.random.default_rng(4)
    sketch = CountMinSketch(width, salt=1)
    before: list[tf.Tensor] = []
    counts = tf.ones([100])
    again = Counter[bool]()
    for step in range(200):
        sketch.fade(tf.constant(0.0, tf.float64))
        keys = tf.constant(random.integers(-(2**63), 2**63, 100, np.int64))
        if step > 5:
            known = sketch.estimate(before[step - 5], counts) >= 1.5
            again.update(known.numpy().tolist())
        sketch.keep(keys, sketch.estimate(keys, counts), counts)
        before.append(keys)
    assert set(again) == {True}


def test_a_checkpoint_of_another_sketch_is_refused_by_name(tmp_path: Path) -> None:
    path = str(tmp_path / "saved")
    tf.train.Checkpoint(sketch=CountMinSketch(64, salt=1)).write(path)
    with pytest.raises(ValueError, match="shape.* name sketch"):
        tf.train.Checkpoint(sketch=CountMinSketch(128, salt=1)).read(path)

    class Plain(tf.Module):
        """Of as many cells, in two rows, that do not fade by themselves."""

        def __init__(self) -> None:
            super().__init__()
            self.cells = tf.Variable(tf.zeros([2 * 128]), name="sketch")

    tf.train.Checkpoint(sketch=Plain()).write(path)
    read = tf.train.Checkpoint(sketch=CountMinSketch(64, salt=1)).read(path)
    with pytest.raises(AssertionError, match="sketch_"):
        read.assert_existing_objects_matched()
