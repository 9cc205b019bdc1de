"""Quantile buckets of columns whose values repeat, in any order and in any parts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_transform.analyzers import QuantilesCombiner

from transforms import bucketize
from transforms.bucketize import quantile_boundaries, quantile_buckets

ROWS, BUCKETS = 4_000, 32


def _columns() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    amount = np.exp(random.normal(6.0, 2.0, ROWS))
    sparse = random.random(ROWS) < 0.1
    return {
        "continuous": random.normal(0.0, 1.0, ROWS),
        "tiny": random.normal(3e-4, 1e-4, ROWS),
        "mostly_zero": np.where(sparse, amount, 0.0),
        "both_signs": np.where(sparse, random.normal(0.0, 5.0, ROWS), 0.0),
        "mostly_minus_one": np.where(sparse, amount, -1.0),
        "zero_and_hundred": np.choose(random.integers(0, 3, ROWS), [0.0, 100.0, amount]),
        "zero_then_one": np.where(sparse, np.where(random.random(ROWS) < 0.6, 1.0, amount), 0.0),
        "counts": np.floor(random.pareto(0.7, ROWS)),
    }


COLUMNS = {name: values.astype(np.float32) for name, values in _columns().items()}


def quantiles(values: np.ndarray, num_buckets: int, seed: int = 0) -> np.ndarray:
    """As Beam finds them: of parts that chance draws, merged in an order that it draws."""
    combiner = QuantilesCombiner(
        num_buckets,
        0.1 / num_buckets,
        np.float32,
        output_shape=[1, num_buckets - 1],
        feature_shape=[],
    )
    random = np.random.default_rng(seed)
    cuts = np.sort(random.integers(0, len(values) + 1, 9))
    accumulators = [
        combiner.add_input(combiner.create_accumulator(), [part]) for part in np.split(values, cuts)
    ]
    random.shuffle(accumulators)
    return combiner.extract_output(combiner.merge_accumulators(accumulators))[0]


def fit(monkeypatch: pytest.MonkeyPatch, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Boundaries of a column whose last value is missing."""

    def analyzer(x: tf.Tensor, num_buckets: int, epsilon: float, name: str) -> tf.Tensor:
        assert epsilon == 0.1 / num_buckets and name
        return tf.constant(quantiles(x.numpy(), num_buckets, seed))

    monkeypatch.setattr(bucketize, "tft", SimpleNamespace(quantiles=analyzer))
    present = tf.constant([True] * len(values) + [False])
    found = quantile_boundaries(tf.constant([*values, 1e30]), present, BUCKETS, "quantiles")
    assert found.shape == (1, BUCKETS - 1) and found.dtype == tf.float32
    return found.numpy()


def buckets_of(values: np.ndarray, boundaries: np.ndarray) -> np.ndarray:
    column = tf.constant(values[:, np.newaxis])
    found = quantile_buckets(column, tf.ones_like(column, tf.bool), tf.constant(boundaries))
    return found.numpy()[:, 0]


def used(buckets: np.ndarray) -> int:
    return len(np.unique(buckets))


@pytest.mark.parametrize("name", ["continuous", "tiny"])
def test_continuous_columns_have_their_quantiles(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    boundaries = fit(monkeypatch, COLUMNS[name])
    np.testing.assert_array_equal(boundaries, quantiles(COLUMNS[name], BUCKETS))
    assert used(buckets_of(COLUMNS[name], boundaries)) == BUCKETS


@pytest.mark.parametrize(
    ("name", "frequent"),
    [
        ("mostly_zero", [0.0]),
        ("both_signs", [0.0]),
        ("mostly_minus_one", [-1.0]),
        ("zero_and_hundred", [0.0, 100.0]),
    ],
)
def test_all_buckets_are_used_where_a_value_is_frequent(
    monkeypatch: pytest.MonkeyPatch, name: str, frequent: list[float]
) -> None:
    values = COLUMNS[name]
    buckets = buckets_of(values, fit(monkeypatch, values))
    # As plain quantiles, many boundaries are the same value.
    assert len(np.unique(quantiles(values, BUCKETS))) < BUCKETS - 9
    assert used(buckets) == BUCKETS
    others = values[~np.isin(values, frequent)]
    share = len(others) / (BUCKETS - len(frequent))
    for value in frequent:
        (bucket,) = np.unique(buckets[values == value])
        # Apart from the others, but for those closest above it.
        assert np.sum((buckets == bucket) & (values != value)) <= 0.25 * share
    counts = np.unique(buckets[~np.isin(values, frequent)], return_counts=True)[1]
    assert counts.max() < 1.5 * share
    assert np.sum(counts > 0.5 * share) >= BUCKETS - 2 * len(frequent) - 1
    assert np.all(np.diff(buckets[np.argsort(values, kind="stable")]) >= 0)


def test_frequent_values_among_the_others_leave_room_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = COLUMNS["zero_then_one"]
    buckets = buckets_of(values, fit(monkeypatch, values))
    assert used(buckets) == BUCKETS
    assert not {*buckets[values == 0.0]} & {*buckets[values == 1.0]}


def test_counts_use_the_buckets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    values = COLUMNS["counts"]
    buckets = buckets_of(values, fit(monkeypatch, values))
    assert len(np.unique(quantiles(values, BUCKETS))) < 20
    assert used(buckets) >= BUCKETS - 1
    # What is frequent, as 0 to 2 are, is apart.
    for value in (0.0, 1.0, 2.0):
        (bucket,) = np.unique(buckets[values == value])
        assert np.unique(values[buckets == bucket]).tolist() == [value]


@pytest.mark.parametrize("values", [[0.0, 1.0] * 50, [-2.0, 7.0, 7.0] * 30, [5.0] * 100])
def test_few_values_have_a_bucket_each(
    monkeypatch: pytest.MonkeyPatch, values: list[float]
) -> None:
    column = np.array(values, np.float32)
    buckets = buckets_of(column, fit(monkeypatch, column))
    assert len(set(zip(values, buckets, strict=True))) == used(buckets) == len(set(values))


def test_order_and_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """To so few rows as the sketch holds whole; to more, what it says of its error."""
    for values in COLUMNS.values():
        found = [
            fit(monkeypatch, np.random.default_rng(seed).permutation(values), seed)
            for seed in range(3)
        ]
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])
