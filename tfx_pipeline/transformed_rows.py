"""Transformed examples, as a training reads them."""

from __future__ import annotations

import tensorflow as tf

_COUNTED = 65_536
"""Rows a batch where scenarios are counted."""


def dataset(
    patterns: list[str],
    spec: dict[str, tf.io.FixedLenFeature],
    batch_size: int,
    *,
    shuffle_buffer: int = 0,
    seed: int = 0,
    block: int = 1,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Batches of (features, labels) from transformed examples.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      batch_size: Rows per batch; the last one may be smaller.
      shuffle_buffer: Rows to shuffle among; 0 keeps the files' order.
      seed: Of the shuffling; the same seed gives the same order.
      block: Rows that stay side by side when shuffled, as those of a request have to.
      share: Number of a worker, from 0, and of all workers. It gets every so many-th file; where
        there are fewer files than workers, every so many-th block of rows.
    """
    files, (worker, workers) = _files(patterns), share
    own = files[worker::workers] if len(files) >= workers else files
    rows = tf.data.TFRecordDataset(own, compression_type="GZIP")
    if len(files) < workers:
        rows = rows.batch(block).shard(workers, worker).unbatch()
    if shuffle_buffer:
        if block > 1:
            rows = rows.batch(block)
        size = max(1, shuffle_buffer // block)
        rows = rows.shuffle(size, seed=seed, reshuffle_each_iteration=False)
        if block > 1:
            rows = rows.unbatch()

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = tf.io.parse_example(serialized, spec)
        labels = features.pop("labels")
        return features, labels

    return (
        rows.batch(batch_size)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def count_scenarios(
    patterns: list[str], spec: dict[str, tf.io.FixedLenFeature], scenarios: int
) -> list[int]:
    """Examples of each scenario, in one pass that reads nothing else.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      scenarios: M.
    """
    rows = tf.data.TFRecordDataset(_files(patterns), compression_type="GZIP").batch(_COUNTED)

    def add(counts: tf.Tensor, serialized: tf.Tensor) -> tf.Tensor:
        scenario = tf.io.parse_example(serialized, {"scenario": spec["scenario"]})["scenario"]
        return counts + tf.math.bincount(scenario, minlength=scenarios, dtype=tf.int64)

    counts: list[int] = rows.reduce(tf.zeros([scenarios], tf.int64), add).numpy().tolist()
    return counts


def _files(patterns: list[str]) -> list[str]:
    return sorted(f for pattern in patterns for f in tf.io.gfile.glob(pattern))
