"""GAUC as a TFMA metric: the mean over users of each user's AUC, weighted by examples.

TFMA groups the rows of one query (`MetricsSpec.query_key`) before this sees them,
and slices afterwards; so the pool needs the user as its key, and the scenarios need
(user, scenario).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from keras_models.metrics import auc


class GAUC(tfma.metrics.Metric):
    """Group AUC (Zhou et al., Deep Interest Network, KDD 2018, section 6.2).

    GAUC = sum_u n_u AUC_u / sum_u n_u over the users u who have both classes.

    Args:
      name: Name of the metric in the results.
    """

    def __init__(self, name: str = "gauc"):
        super().__init__(_computations, name=name)


def _computations(
    name: str,
    eval_config: tfma.EvalConfig | None = None,
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
    query_key: str = "",
    **_: Any,
) -> list[metric_types.MetricComputation]:
    if not query_key:
        raise ValueError("GAUC found no query_key in its MetricsSpec; expected the user's column")
    keys = [
        metric_types.MetricKey(name=name, model_name=model, output_name=output)
        for model in model_names or [""]
        for output in output_names or [""]
    ]
    return [
        metric_types.MetricComputation(
            keys=[key], preprocessors=None, combiner=_GroupAuc(key, eval_config)
        )
        for key in keys
    ]


class _GroupAuc(beam.CombineFn):
    """Accumulates (sum of n_u AUC_u, sum of n_u)."""

    def __init__(self, key: metric_types.MetricKey, eval_config: tfma.EvalConfig | None):
        self._key = key
        self._eval_config = eval_config

    def create_accumulator(self) -> tuple[float, float]:
        return 0.0, 0.0

    def add_input(
        self,
        accumulator: tuple[float, float],
        element: metric_types.StandardMetricInputs,
    ) -> tuple[float, float]:
        rows = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._key.model_name,
            output_name=self._key.output_name,
            flatten=True,
            require_single_example_weight=False,
        )
        labels, scores = [], []
        for label, score, _ in rows:
            labels.append(np.ravel(label)[0])
            scores.append(np.ravel(score)[0])
        value = auc(np.asarray(labels), np.asarray(scores))
        if value is None:
            return accumulator
        return accumulator[0] + value * len(labels), accumulator[1] + len(labels)

    def merge_accumulators(
        self, accumulators: Iterable[tuple[float, float]]
    ) -> tuple[float, float]:
        totals = np.sum([(0.0, 0.0), *accumulators], axis=0)
        return float(totals[0]), float(totals[1])

    def extract_output(
        self, accumulator: tuple[float, float]
    ) -> dict[metric_types.MetricKey, float]:
        weighted, examples = accumulator
        return {self._key: weighted / examples if examples else float("nan")}
