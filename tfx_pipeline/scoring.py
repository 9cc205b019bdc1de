"""Scores of a pushed or candidate model, row by row, through its serving signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from serving.signatures import REQUEST_COLUMNS, SERVING_DEFAULT
from transforms.examples import SCENARIO, true_feature
from transforms.sparse import only_values
from transforms.task_labels import LabelKind

_BATCH = 4096


@dataclass
class EvaluationRows:
    """The evaluation split, column by column.

    Args:
      examples: R serialized tf.Examples.
      labels: By task: float32 [R], NaN where a row is outside of the task's sample space.
      scenario: bytes [R].
      true_probability: By task, where the logs hold it: float32 [R].
      columns: Further features that were asked for, by name: [R]; where an example has none a
        float32 is NaN, an int64 0, and a text empty.
    """

    examples: np.ndarray
    labels: dict[str, np.ndarray]
    scenario: np.ndarray
    true_probability: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def read_rows(
    pattern: str,
    kinds: Mapping[str, LabelKind],
    tasks_with_truth: Sequence[str],
    also: Mapping[str, tf.DType] | None = None,
) -> EvaluationRows:
    """Reads tf.Examples and the columns that judging them needs.

    Args:
      pattern: Glob of gzipped TFRecords.
      kinds: Kind of every task, by the name of its label feature.
      tasks_with_truth: Tasks whose examples hold the true probability.
      also: Types of further features to read: string, float32 or int64.

    Returns:
      All rows, in the order of the files.
    """
    also = also or {}
    types = {t: tf.int64 if kind == "binary" else tf.float32 for t, kind in kinds.items()}
    types |= {true_feature(t): tf.float32 for t in tasks_with_truth}
    types |= {SCENARIO: tf.string, **also}
    spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in types.items()}
    files = sorted(tf.io.gfile.glob(pattern))
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    batches = []
    for serialized in dataset:
        features = tf.io.parse_example(serialized, spec)
        found = {name: _column(name, features[name]) for name in types}
        whole = [name for name in also if also[name] == tf.int64]
        found |= {name: only_values({name: features[name]}, 0)[0][:, 0] for name in whole}
        batches.append({"": serialized, **found})
    columns = {
        name: np.concatenate([batch[name].numpy() for batch in batches]) for name in ["", *types]
    }
    return EvaluationRows(
        examples=columns[""],
        labels={t: columns[t] for t in kinds},
        scenario=columns[SCENARIO],
        true_probability={t: columns[true_feature(t)] for t in tasks_with_truth},
        columns={name: columns[name] for name in also},
    )


def _column(name: str, feature: tf.SparseTensor) -> tf.Tensor:
    """The value of each row: text, or float32 with NaN where there is none."""
    if feature.dtype == tf.string:
        return only_values({name: feature}, "")[0][:, 0]
    values, present = only_values({name: feature}, 0)
    return tf.where(present, tf.cast(values, tf.float32), float("nan"))[:, 0]


def required_columns(model: tf.Module) -> set[str]:
    """Columns that a loaded SavedModel of ours reads from an example, statistics among them."""
    columns = model.signatures[REQUEST_COLUMNS]()
    return {
        name.decode()
        for kind, names in columns.items()
        if kind != "scenarios"
        for name in names.numpy()
    }


def model_scenarios(model: tf.Module) -> list[str] | None:
    """Scenarios of a loaded SavedModel of ours; None of one that does not tell."""
    found = model.signatures[REQUEST_COLUMNS]().get("scenarios")
    return None if found is None else [name.decode() for name in found.numpy()]


def score(model: tf.Module, examples: np.ndarray) -> dict[str, np.ndarray]:
    """Runs `serving_default` over serialized examples.

    Args:
      model: A loaded SavedModel.
      examples: R serialized tf.Examples.

    Returns:
      Every output of the signature: float32 [R], or [R, C].
    """
    signature = model.signatures[SERVING_DEFAULT]
    batches = [
        signature(examples=tf.constant(examples[start : start + _BATCH]))
        for start in range(0, len(examples), _BATCH)
    ]
    return {name: np.concatenate([b[name].numpy() for b in batches]) for name in batches[0]}
