from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings.hashing import mix64, reduced, uniform_rows

from . import reference_table as plain

_KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)


@settings(deadline=None)
@given(_KEYS, st.integers(0, 5))
def test_mix64_is_splitmix(keys: list[int], salt: int) -> None:
    mixed = mix64(tf.constant(keys, tf.int64), salt).numpy()
    assert mixed.tolist() == [plain.mix64(key, salt) for key in keys]


@settings(deadline=None)
@given(_KEYS, st.sampled_from([0, 32]), st.integers(1, 2**32))
def test_reduced_is_a_product_of_integers(keys: list[int], shift: int, size: int) -> None:
    numbers = reduced(tf.constant([key % 2**64 for key in keys], tf.uint64), shift, size).numpy()
    assert numbers.tolist() == [plain.reduced(key % 2**64, shift, size) for key in keys]
    assert numbers.min() >= 0 and numbers.max() < size


def test_reduced_fills_any_number_of_buckets_evenly() -> None:
    hashed = mix64(tf.range(130_000, dtype=tf.int64), salt=0)
    for shift in (0, 32):
        counts = np.bincount(reduced(hashed, shift, 13).numpy())
        # Chi-squared with 12 degrees of freedom: 33 is exceeded once in a thousand hashes.
        assert ((counts - 10_000) ** 2 / 10_000).sum() < 33


def test_rows_are_uniform_and_depend_on_the_key_alone() -> None:
    keys = tf.range(-5_000, 5_000, dtype=tf.int64)
    rows = uniform_rows(keys, 8, 0.05, 3).numpy()
    assert rows.shape == (10_000, 8)
    assert rows.min() >= -0.05 and rows.max() < 0.05
    assert abs(rows.mean()) < 5e-4
    np.testing.assert_allclose(rows.std(axis=0), 0.1 / np.sqrt(12), rtol=0.03)
    assert np.abs(np.corrcoef(rows.T) - np.eye(8)).max() < 0.05
    np.testing.assert_array_equal(uniform_rows(keys[::-7], 8, 0.05, 3), rows[::-7])
    assert np.abs(uniform_rows(keys, 8, 0.05, 4) - rows).mean() > 0.02
