"""Scores of a pushed or candidate model, row by row, through its serving signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from serving.signatures import REQUEST_COLUMNS, SERVING_DEFAULT
from transforms.examples import SCENARIO, true_feature

_BATCH = 4096


@dataclass
class EvaluationRows:
    """The evaluation split, column by column.

    Args:
      examples: R serialized tf.Examples.
      labels: By task: int64 [R].
      scenario: bytes [R].
      true_probability: By task, where the logs hold it: float32 [R].
    """

    examples: np.ndarray
    labels: dict[str, np.ndarray]
    scenario: np.ndarray
    true_probability: dict[str, np.ndarray] = field(default_factory=dict)


def read_rows(
    pattern: str, tasks: Sequence[str], tasks_with_truth: Sequence[str]
) -> EvaluationRows:
    """Reads tf.Examples and the columns that judging them needs.

    Args:
      pattern: Glob of gzipped TFRecords.
      tasks: Names of the label features.
      tasks_with_truth: Tasks whose examples hold the true probability.

    Returns:
      All rows, in the order of the files.
    """
    spec: dict[str, tf.io.FixedLenFeature] = {t: tf.io.FixedLenFeature([], tf.int64) for t in tasks}
    spec |= {true_feature(t): tf.io.FixedLenFeature([], tf.float32) for t in tasks_with_truth}
    spec[SCENARIO] = tf.io.FixedLenFeature([], tf.string)
    files = sorted(tf.io.gfile.glob(pattern))
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    batches = [{"": serialized, **tf.io.parse_example(serialized, spec)} for serialized in dataset]
    columns = {
        name: np.concatenate([batch[name].numpy() for batch in batches]) for name in ["", *spec]
    }
    return EvaluationRows(
        examples=columns[""],
        labels={t: columns[t] for t in tasks},
        scenario=columns[SCENARIO],
        true_probability={t: columns[true_feature(t)] for t in tasks_with_truth},
    )


def required_columns(model: tf.Module) -> set[str]:
    """Columns that a loaded SavedModel of ours reads from an example, statistics among them."""
    columns = model.signatures[REQUEST_COLUMNS]()
    return {name.decode() for kind in columns.values() for name in kind.numpy()}


def score(model: tf.Module, examples: np.ndarray) -> dict[str, np.ndarray]:
    """Runs `serving_default` over serialized examples.

    Args:
      model: A loaded SavedModel.
      examples: R serialized tf.Examples.

    Returns:
      Every output of the signature: float32 [R].
    """
    signature = model.signatures[SERVING_DEFAULT]
    batches = [
        signature(examples=tf.constant(examples[start : start + _BATCH]))
        for start in range(0, len(examples), _BATCH)
    ]
    return {name: np.concatenate([b[name].numpy() for b in batches]) for name in batches[0]}
