"""The last pushed version with the features of its own run.

Past-days statistics and histories come from the logs that a run reads. Where these are wrong, the
features of the candidate's examples are, too, and a version scored on them sinks with the
candidate, whatever it was worth.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from serving.signatures import REQUEST_COLUMNS
from tfx_pipeline.config import Config
from tfx_pipeline.gate.series import Series
from tfx_pipeline.inputs import history
from tfx_pipeline.scoring import score
from transforms.examples import DAY
from transforms.sparse import only_values

SCORES = "scores.npz"
_COLUMNS, _KEYS, _OF_TASK = "columns", "keys", "task/"
_CLOSE = 1e-6
"""What scores of other batches may differ by."""


def has_run_features(config: Config) -> bool:
    """Whether some features come from what a run makes of its logs."""
    return bool(config.features.past_days) or history(config) is not None


@dataclass(frozen=True)
class RunScores:
    """What a version said of the evaluation rows of its own run.

    Args:
      columns: What the keys are made of.
      keys: Of the rows, uint64 [R].
      scores: By task, float32 [R], of multiclass tasks [R, C].
    """

    columns: list[str]
    keys: np.ndarray
    scores: Mapping[str, np.ndarray]

    def write(self, path: str) -> None:
        """Writes them to a file."""
        written = io.BytesIO()
        by_task = {_OF_TASK + task: scores for task, scores in self.scores.items()}
        columns = np.array(self.columns, np.str_)
        np.savez(written, **{_COLUMNS: columns, _KEYS: self.keys}, **by_task)
        with tf.io.gfile.GFile(path, "wb") as f:
            f.write(written.getvalue())


def read_scores(path: str) -> RunScores | None:
    """What `RunScores.write` wrote; None where the file is gone."""
    if not path or not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as f:
        found = np.load(io.BytesIO(f.read()))
    by_task = {
        name.removeprefix(_OF_TASK): found[name]
        for name in found.files
        if name.startswith(_OF_TASK)
    }
    return RunScores(found[_COLUMNS].tolist(), found[_KEYS], by_task)


def key_columns(config: Config) -> list[str]:
    """The columns that tell rows apart, and that are as the logs have them."""
    features = config.features
    texts = {*features.categorical, config.scenario.column, config.data.user}
    return [*sorted(texts), *sorted(features.numeric), DAY]


def row_keys(examples: np.ndarray, config: Config) -> np.ndarray:
    """Hashes of `key_columns`, uint64 [R].

    Rows with equal keys get equal scores, but for their histories and past days.

    Args:
      examples: R serialized tf.Examples.
      config: The run's config.
    """
    numeric = [*sorted(config.features.numeric), DAY]
    texts = [name for name in key_columns(config) if name not in numeric]
    spec: dict[str, tf.io.VarLenFeature] = {name: tf.io.VarLenFeature(tf.string) for name in texts}
    spec |= {name: tf.io.VarLenFeature(tf.float32) for name in config.features.numeric}
    spec[DAY] = tf.io.VarLenFeature(tf.int64)
    found = []
    for start in range(0, len(examples), 4096):
        parsed = tf.io.parse_example(examples[start : start + 4096], spec)
        columns, _ = only_values({name: parsed[name] for name in texts}, "")
        for name in numeric:
            numbers, present = only_values({name: parsed[name]}, 0)
            digits = 9 if numbers.dtype.is_floating else -1  # All those of a float32.
            text = tf.where(
                present, tf.strings.as_string(numbers, digits, scientific=digits > 0), ""
            )
            columns = tf.concat([columns, text], axis=1)
        found.append(tf.fingerprint(columns).numpy().view(np.uint64)[:, 0])
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


def own_outputs(
    model: tf.Module,
    examples: np.ndarray,
    days: np.ndarray,
    config: Config,
    scored: Mapping[str, np.ndarray],
    series: Series,
) -> tuple[dict[str, np.ndarray], str | None]:
    """What a version says of rows with the features of its own run, as far as they are known.

    Of rows that its own run was evaluated on it is what it said there. Rows of days after those
    that its run read are scored as a server does that has it: with the statistics in its tables. In
    all other rows these tables may hold the row itself, so they keep the features of the examples.

    Args:
      model: The version, loaded.
      examples: R serialized tf.Examples.
      days: Ordinals of their days, [R].
      config: The config of the run at hand.
      scored: What it says of the examples as they are, by task.
      series: From the version's card.

    Returns:
      By task, where it differs from `scored`; and what is to be known of it.
    """
    found = {task: scores.copy() for task, scores in scored.items()}
    names = [n.decode() for n in model.signatures[REQUEST_COLUMNS]()["statistics"].numpy()]
    later = np.flatnonzero(days > series.last_day)
    if names and len(later):
        served = score(model, without(examples[later], names))
        for task in found:
            found[task][later] = served[task]
    if len(later) == len(days):
        return _differing(found, scored), None
    stored, note = read_scores(series.scores), None
    if stored is None:
        note = f"{series.scores}, its scores of its own evaluation rows, is gone"
    elif differ := {*stored.columns} ^ {*key_columns(config)}:
        note = f"its own evaluation rows have other columns ({', '.join(sorted(differ))})"
    else:
        first, place = np.unique(stored.keys, return_inverse=True)
        keys = row_keys(examples, config)
        at = np.minimum(np.searchsorted(first, keys), len(first) - 1)
        known = first[at] == keys
        for task in found.keys() & stored.scores.keys():
            scores = stored.scores[task]
            if scores.shape[1:] != found[task].shape[1:]:
                continue
            sums = np.zeros([len(first), *scores.shape[1:]])
            np.add.at(sums, place, scores)
            counts = np.bincount(place).reshape([-1] + [1] * (sums.ndim - 1))
            found[task][known] = (sums / counts)[at[known]]
    return _differing(found, scored), note


def _differing(
    found: Mapping[str, np.ndarray], scored: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {
        task: scores
        for task, scores in found.items()
        if not np.allclose(scores, scored[task], rtol=0, atol=_CLOSE)
    }


def without(examples: np.ndarray, names: list[str]) -> np.ndarray:
    """Serialized tf.Examples without some features, [R]."""
    found = np.empty(len(examples), object)
    for i, serialized in enumerate(examples):
        example = tf.train.Example.FromString(serialized)
        for name in names:
            example.features.feature.pop(name, None)
        found[i] = example.SerializeToString()
    return found
