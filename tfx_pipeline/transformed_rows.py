"""Transformed examples, as a training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_models.tasks import Task

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


@dataclass(frozen=True)
class Totals:
    """What is in transformed examples.

    Args:
      rows: Examples.
      scenarios: Of each of the M scenarios.
      labelled: By task, examples in its sample space.
      labels: By task, the sum of their labels, [1]; of a multiclass task examples by class, [C].
    """

    rows: int
    scenarios: list[int]
    labelled: dict[str, int]
    labels: dict[str, np.ndarray]


def totals(
    patterns: list[str],
    spec: dict[str, tf.io.FixedLenFeature],
    tasks: Sequence[Task],
    scenarios: int,
) -> Totals:
    """Adds up scenarios and labels, in one pass that reads nothing else.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      tasks: K tasks, the columns of `labels` and `spaces`.
      scenarios: M.
    """
    wanted = {name: spec[name] for name in ("scenario", "labels", "spaces") if name in spec}
    batches = (
        tf.data.TFRecordDataset(_files(patterns), compression_type="GZIP")
        .batch(_COUNTED)
        .map(lambda serialized: tf.io.parse_example(serialized, wanted))
    )
    rows, of_scenarios = 0, np.zeros(scenarios, np.int64)
    labelled = dict.fromkeys((task.name for task in tasks), 0)
    labels = {task.name: np.zeros(task.outputs) for task in tasks}
    for batch in batches.as_numpy_iterator():
        rows += len(batch["labels"])
        of_scenarios += np.bincount(batch["scenario"], minlength=scenarios)
        for k, task in enumerate(tasks):
            inside = slice(None) if "spaces" not in batch else batch["spaces"][:, k] > 0
            own = batch["labels"][inside, k]
            labelled[task.name] += len(own)
            if task.kind == "multiclass":
                labels[task.name] += np.bincount(own.astype(np.int64), minlength=task.outputs)
            else:
                labels[task.name] += own.sum(dtype=np.float64)
    return Totals(rows, of_scenarios.tolist(), labelled, labels)


def _files(patterns: list[str]) -> list[str]:
    return sorted(f for pattern in patterns for f in tf.io.gfile.glob(pattern))
