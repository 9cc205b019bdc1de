"""All metrics of all tasks of a slice, as one TFMA metric.

TFMA's own combiners cost a Python call a row, a metric, a task and a slice, and its
`query_key` regroups whole rows: on 20,000 rows, 4 tasks and 4 scenarios these took
minutes. This one keeps the columns it needs and computes with NumPy at the end, so
that AUC and GAUC are also exact, where TFMA's AUC is interpolated between thresholds.

A slice's columns are held in memory by one worker at the end: 8 bytes a row, 8 more where
tasks rank within requests, and 8 more for each task, of a multiclass one 4 and 4 a class.
So 4 GB for 100 million rows of 4 binary tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from keras_models import metrics
from transforms.task_labels import LabelKind

NAMES: Mapping[LabelKind, tuple[str, ...]] = {
    "binary": (
        "examples",
        "positives",
        "auc",
        "gauc",
        "logloss",
        "normalized_entropy",
        "calibration",
    ),
    "regression": ("examples", "mse"),
    "multiclass": ("examples", "logloss", "accuracy"),
    "ranking": ("examples", "positives", "auc", "gauc", "ndcg"),
}
"""Names of the values, by the task's kind; NaN stands for one that the rows do not define."""

_COMPACT_AFTER = 4096


class CellMetrics(tfma.metrics.Metric):
    """The metrics of every task's kind, over the rows that have the task's label.

    Args:
      kinds: Kind of every task.
      outputs: Number of outputs of every task.
      user_feature: Feature that names the user, for GAUC.
      request_feature: Feature that names the request, for NDCG of ranking tasks.
      name: Prefix of the values' names.
    """

    def __init__(
        self,
        kinds: dict[str, LabelKind],
        outputs: dict[str, int],
        user_feature: str,
        request_feature: str | None = None,
        name: str = "cell",
    ):
        super().__init__(
            _computations,
            kinds=kinds,
            outputs=outputs,
            user_feature=user_feature,
            request_feature=request_feature,
            name=name,
        )


def _computations(
    name: str,
    kinds: dict[str, LabelKind],
    outputs: dict[str, int],
    user_feature: str,
    request_feature: str | None = None,
    eval_config: tfma.EvalConfig | None = None,
    **_: Any,
) -> list[metric_types.MetricComputation]:
    keys = {
        (task, value): metric_types.MetricKey(name=f"{name}_{value}", output_name=task)
        for task, kind in kinds.items()
        for value in NAMES[kind]
    }
    features = [user_feature, *([request_feature] if request_feature else [])]
    return [
        metric_types.MetricComputation(
            keys=list(keys.values()),
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=features)],
            combiner=_Columns(kinds, outputs, user_feature, request_feature, keys),
        )
    ]


@dataclass(frozen=True)
class _Rows:
    """Rows of a slice.

    Args:
      users: Hashes, uint64 [R].
      requests: int64 [R]; 0 where tasks do not need them.
      labels: float32 [R, K], NaN where a row is outside of the task's sample space.
      predictions: float32 [R, outputs of all tasks].
    """

    users: np.ndarray
    requests: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray


class _Accumulator:
    """Rows so far: finished arrays, and rows that wait to be made into arrays."""

    def __init__(self) -> None:
        self.done: list[_Rows] = []
        self.waiting: list[tuple[bytes, int, list[float], list[float]]] = []

    def compact(self) -> None:
        if not self.waiting:
            return
        users, requests, labels, predictions = zip(*self.waiting, strict=True)
        self.waiting = []
        self.done.append(
            _Rows(
                pd.util.hash_array(np.array(users, dtype=object), categorize=False),
                np.array(requests, dtype=np.int64),
                np.array(labels, dtype=np.float32),
                np.array(predictions, dtype=np.float32),
            )
        )


class _Columns(beam.CombineFn):
    """Collects the columns of a slice, then computes."""

    def __init__(
        self,
        kinds: Mapping[str, LabelKind],
        outputs: Mapping[str, int],
        user_feature: str,
        request_feature: str | None,
        keys: dict[tuple[str, str], metric_types.MetricKey],
    ):
        self._kinds = dict(kinds)
        self._outputs = dict(outputs)
        self._user_feature = user_feature
        self._request_feature = request_feature
        self._keys = keys

    def create_accumulator(self) -> _Accumulator:
        return _Accumulator()

    def add_input(
        self, accumulator: _Accumulator, element: metric_types.StandardMetricInputs
    ) -> _Accumulator:
        # Each of these is a search of its own in TFMA: once a row, not once a task.
        features, by_task, labels = element.features, element.predictions, element.labels
        request = 0
        if self._request_feature is not None:
            request = np.ravel(features[self._request_feature])[0]
        predictions: list[float] = []
        for task in self._kinds:
            predictions.extend(np.ravel(by_task[task]))
        accumulator.waiting.append(
            (
                np.ravel(features[self._user_feature])[0],
                request,
                [_label(labels[task]) for task in self._kinds],
                predictions,
            )
        )
        if len(accumulator.waiting) >= _COMPACT_AFTER:
            accumulator.compact()
        return accumulator

    def compact(self, accumulator: _Accumulator) -> _Accumulator:
        accumulator.compact()
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Accumulator]) -> _Accumulator:
        merged = _Accumulator()
        for accumulator in accumulators:
            merged.done += accumulator.done
            merged.waiting += accumulator.waiting
        return merged

    def extract_output(self, accumulator: _Accumulator) -> dict[metric_types.MetricKey, float]:
        accumulator.compact()
        users, requests, labels, predictions = (
            np.concatenate([getattr(part, name) for part in accumulator.done])
            for name in ("users", "requests", "labels", "predictions")
        )
        ends = np.cumsum([self._outputs[task] for task in self._kinds])
        parts = np.split(predictions, ends[:-1], axis=1)
        found = {}
        for k, ((task, kind), part) in enumerate(zip(self._kinds.items(), parts, strict=True)):
            inside = ~np.isnan(labels[:, k])
            values = cell_values(
                kind, labels[inside, k], part[inside], users[inside], requests[inside]
            )
            for name, value in values.items():
                found[self._keys[task, name]] = float("nan") if value is None else float(value)
        return found


def cell_values(
    kind: LabelKind,
    labels: np.ndarray,
    predictions: np.ndarray,
    users: np.ndarray,
    requests: np.ndarray,
) -> dict[str, float | None]:
    """The metrics of one task over R rows that have its label.

    Args:
      kind: The task's.
      labels: [R]; of a ranking task the relevance, whose AUC is that of what is above 0.
      predictions: [R, outputs].
      users: [R], anything that tells users apart.
      requests: [R], likewise; only read for ranking tasks.

    Returns:
      Those in `NAMES`; None where the rows do not define one, or a prediction is not finite.
    """
    values: dict[str, float | None] = {"examples": len(labels)}
    if not np.isfinite(predictions).all():
        if "positives" in NAMES[kind]:
            values["positives"] = int((labels > 0).sum())
        return values | {name: None for name in NAMES[kind] if name not in values}
    if kind == "regression":
        return values | {"mse": metrics.mse(labels, predictions[:, 0])}
    if kind == "multiclass":
        return values | {
            "logloss": metrics.class_logloss(labels, predictions),
            "accuracy": metrics.accuracy(labels, predictions),
        }
    positive, score = labels > 0, predictions[:, 0]
    values |= {
        "positives": int(positive.sum()),
        "auc": metrics.auc(positive, score),
        "gauc": metrics.gauc(positive, score, users),
    }
    if kind == "ranking":
        return values | {"ndcg": metrics.ndcg(labels, score, requests)}
    return values | {
        "logloss": metrics.logloss(labels, score),
        "normalized_entropy": metrics.normalized_entropy(labels, score),
        "calibration": metrics.calibration(labels, score),
    }


def _label(value: Any) -> float:
    """A row's label; NaN where it has none."""
    values = np.ravel([] if value is None else value)
    return float(values[0]) if len(values) else float("nan")
