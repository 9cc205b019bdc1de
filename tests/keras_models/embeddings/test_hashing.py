from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.embeddings.hashing import mix64, uniform_rows

_MASK = 2**64 - 1


def _plain_mix(key: int, salt: int) -> int:
    x = (key + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(0, 5))
def test_mix64_is_splitmix(keys: list[int], salt: int) -> None:
    mixed = mix64(tf.constant(keys, tf.int64), salt).numpy()
    assert mixed.tolist() == [_plain_mix(key & _MASK, salt) for key in keys]


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
