"""What the gates of a trained model do, in the mean over the rows of each scenario."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_models.gate_axes import Axes
from keras_models.model import Features, RankingModel


def mean_gates(
    model: RankingModel, batches: tf.data.Dataset, scenarios: Sequence[str]
) -> dict[str, Any]:
    """Means of the gates that the model names, see `Backbone.gate_axes`.

    Args:
      model: A trained model.
      batches: Of (features, labels), features at least those of `model.feature_spec`.
      scenarios: Names of the M scenarios, in the order of their ids.

    Returns:
      Plain values: `scenarios`; `rows`, of each; and `gates`, by name `{"axes": [names], "labels":
      {axis: [labels]}, "mean": nested list}`, whose first axis is `scenario`. The mean of a
      scenario without rows is None.
    """
    axes = model.gate_axes(scenarios)
    ids = range(len(scenarios))

    def sums(features: Features) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        named = model.intermediates(features)
        of_row = tf.one_hot(features["scenario"], len(scenarios))
        gates = {
            name: tf.tensordot(of_row, _named_axes_alone(named[name], len(axes[name])), [[0], [0]])
            for name in axes
        }
        return tf.reduce_sum(of_row, axis=0), gates

    traced = tf.function(sums, [model.feature_spec], autograph=False)
    rows = np.zeros(len(scenarios))
    totals: dict[str, Any] = dict.fromkeys(axes, 0.0)
    for features, _ in batches:
        counted, gates = traced({name: features[name] for name in model.feature_spec})
        rows += counted.numpy()
        # Batches add up in float64.
        totals = {name: total + gates[name].numpy() for name, total in totals.items()}
    return {
        "scenarios": list(scenarios),
        "rows": [int(n) for n in rows],
        "gates": {
            name: _described([totals[name][i] / rows[i] if rows[i] else None for i in ids], named)
            for name, named in axes.items()
        },
    }


def _named_axes_alone(gate: tf.Tensor, axes: int) -> tf.Tensor:
    """Float32, with the trailing axes that have no name averaged."""
    return tf.reduce_mean(tf.cast(gate, tf.float32), axis=list(range(1 + axes, gate.shape.rank)))


def _described(means: Sequence[np.ndarray | None], axes: Axes) -> dict[str, Any]:
    return {
        "axes": ["scenario", *axes],
        "labels": {name: _runs(labels) for name, labels in axes.items()},
        "mean": [None if mean is None else _by_label(mean, axes).tolist() for mean in means],
    }


def _runs(labels: Sequence[str]) -> list[str]:
    return [label for label, _ in itertools.groupby(labels)]


def _by_label(mean: np.ndarray, axes: Axes) -> np.ndarray:
    """Averages neighbours of the same label."""
    for axis, labels in enumerate(axes.values()):
        lengths = [len(list(run)) for _, run in itertools.groupby(labels)]
        starts = np.cumsum([0, *lengths[:-1]])
        shape = [-1 if i == axis else 1 for i in range(mean.ndim)]
        mean = np.add.reduceat(mean, starts, axis) / np.reshape(lengths, shape)
    return mean
