"""Quantile buckets of columns whose values repeat, in any order and in any parts."""

from __future__ import annotations

import math
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.analyzers import QuantilesCombiner
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from transforms.bucketize import (
    QuantileBoundaries,
    _with_frequent,
    quantile_boundaries,
    quantile_buckets,
)

from .random_bundles import RandomBundles

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
FEW = {
    "halves": np.array([0.0, 1.0] * 50, np.float32),
    "thirds": np.array([-2.0, 7.0, 7.0] * 30, np.float32),
    "one": np.array([5.0] * 100, np.float32),
}
NEVER = "never"


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


def fit(folder: Path, seed: int) -> dict[str, np.ndarray]:
    """Boundaries [1, BUCKETS - 1] of each column, of rows and bundles in an order of chance.

    Columns end where their values do: in the other rows they are missing, one of them in all.
    """
    columns = {**COLUMNS, **FEW, NEVER: np.zeros(0, np.float32)}
    rows = np.full((ROWS + 1, len(columns)), np.nan, np.float32)
    for i, values in enumerate(columns.values()):
        rows[: len(values), i] = values
    random = np.random.default_rng(seed)
    cuts = np.sort(random.integers(0, len(rows) + 1, 9))
    batches = [(batch,) for batch in np.split(random.permutation(rows), [0, *cuts])]
    file = folder / "boundaries.npy"
    with beam.Pipeline(runner=RandomBundles(seed, 3)) as pipeline:
        _ = (
            pipeline
            | beam.Create(batches)
            | QuantileBoundaries(len(columns), BUCKETS)
            | beam.Map(lambda boundaries: np.save(file, boundaries))
        )
    found = np.load(file)
    assert found.shape == (len(columns), BUCKETS - 1) and found.dtype == np.float32
    return dict(zip(columns, found[:, np.newaxis], strict=True))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return fit(tmp_path_factory.mktemp("fitted"), 0)


def buckets_of(values: np.ndarray, boundaries: np.ndarray) -> np.ndarray:
    column = tf.constant(values[:, np.newaxis])
    found = quantile_buckets(column, tf.ones_like(column, tf.bool), tf.constant(boundaries))
    return found.numpy()[:, 0]


def used(buckets: np.ndarray) -> int:
    return len(np.unique(buckets))


@pytest.mark.parametrize("name", ["continuous", "tiny"])
def test_continuous_columns_have_their_quantiles(fitted: dict[str, np.ndarray], name: str) -> None:
    boundaries = fitted[name]
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
    fitted: dict[str, np.ndarray], name: str, frequent: list[float]
) -> None:
    values = COLUMNS[name]
    buckets = buckets_of(values, fitted[name])
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


def test_frequent_values_among_the_others_leave_room_too(fitted: dict[str, np.ndarray]) -> None:
    values = COLUMNS["zero_then_one"]
    buckets = buckets_of(values, fitted["zero_then_one"])
    assert used(buckets) == BUCKETS
    assert not {*buckets[values == 0.0]} & {*buckets[values == 1.0]}


def test_counts_use_the_buckets_too(fitted: dict[str, np.ndarray]) -> None:
    values = COLUMNS["counts"]
    buckets = buckets_of(values, fitted["counts"])
    assert len(np.unique(quantiles(values, BUCKETS))) < 20
    assert used(buckets) >= BUCKETS - 1
    # What is frequent, as 0 to 2 are, is apart.
    for value in (0.0, 1.0, 2.0):
        (bucket,) = np.unique(buckets[values == value])
        assert np.unique(values[buckets == bucket]).tolist() == [value]


@pytest.mark.parametrize("name", FEW)
def test_few_values_have_a_bucket_each(fitted: dict[str, np.ndarray], name: str) -> None:
    values = FEW[name]
    buckets = buckets_of(values, fitted[name])
    assert len(set(zip(values, buckets, strict=True))) == used(buckets) == len(set(values))


def test_a_column_without_values_has_no_boundary(fitted: dict[str, np.ndarray]) -> None:
    assert fitted[NEVER].tolist() == [[math.inf] * (BUCKETS - 1)]


def test_order_and_parts_make_no_difference(fitted: dict[str, np.ndarray], tmp_path: Path) -> None:
    """To so few rows as the sketch holds whole; to more, what it says of its error."""
    for seed in (1, 2):
        found = fit(tmp_path, seed)
        for name, boundaries in fitted.items():
            np.testing.assert_array_equal(found[name], boundaries, name)


def test_boundaries_worked_by_hand() -> None:
    """0 and the next value bound its bucket; two of -1, 2, 3 and 4 part them in three."""
    others = np.array([-1, 1, 1, 2, 3, 4], np.float32)
    found = _with_frequent(np.array([0, 0], np.float32), others, 4)
    assert found.tolist() == [0.0, 1.0, 2.0, 4.0] and found.dtype == np.float32
    # Nothing lies below 0; what is not used is infinite.
    found = _with_frequent(np.array([0, 0], np.float32), others[1:4], 4)
    assert found.tolist() == [1.0, 2.0, math.inf, math.inf]


def test_what_is_not_present_does_not_count(tmp_path: Path) -> None:
    """Neither in the boundaries of the graph, nor as one of their buckets."""

    def buckets(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values = inputs["x"]
        present = values < 1e30
        boundaries = quantile_boundaries(values, present, 4, "quantiles")
        assert boundaries.shape == (2, 3) and boundaries.dtype == tf.float32
        return {"buckets": quantile_buckets(values, present, boundaries)}

    rows = [{"x": [float(i), 1e30 if i < 8 else -float(i)]} for i in range(16)]
    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    with tft_beam.Context(temp_dir=str(tmp_path), force_tf_compat_v1=True):
        (found, _), _ = (rows, metadata) | tft_beam.AnalyzeAndTransformDataset(buckets)
    by_row = np.array([row["buckets"] for row in found])
    # A boundary is in the bucket above it.
    assert by_row[:, 0].tolist() == [i // 4 for i in range(16)]
    assert by_row[:, 1].tolist() == [4] * 8 + [3, 3, 2, 2, 1, 1, 0, 0]
