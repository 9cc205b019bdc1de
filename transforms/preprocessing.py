"""The tf.Transform graph: raw examples to the model's few wide tensors.

This is the one place where a raw value becomes a model input, in training and in
serving alike: the graph written here travels inside the SavedModel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.bucketize import quantile_boundaries, quantile_buckets
from transforms.dense_transform import (
    HAS_NUMBER,
    NUMBERS,
    SCENARIO_TEXTS,
    TEXT_KEYS,
)
from transforms.finite import finite_numbers
from transforms.graph_settings import write_settings
from transforms.keys import bucket_keys, categorical_keys
from transforms.sequences import history_inputs
from transforms.sparse import only_values
from transforms.z_scores import log_z_scores


def preprocessing_fn(
    inputs: Mapping[str, Any], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Builds the graph.

    Args:
      inputs: Raw features by name, each a `tf.SparseTensor` [B, <= 1] as parsed from examples;
        those of a history have any number of values.
      custom_config: `categorical` and `numeric` (names of features), `num_buckets`,
        `scenario_column`, `scenarios` (names, the last one takes all others), `day_column` (an
        ordinal) and `tasks`; `spaces` if examples may lie outside of a task's sample space, and
        `request_column` if tasks rank within requests; `history`, as for `history_inputs`, if
        there are histories.

    Returns:
      `keys` int64 [B, F] with F = categorical features, then numeric ones by bucket;
      `numbers` float32 [B, 2N], N z-scores, then N presence masks;
      `scenario` int64 [B], the position in `scenarios`;
      `day` int64 [B], the day of each row as an ordinal;
      `labels` float32 [B, K], 0 outside of a task's sample space;
      `spaces` float32 [B, K], where asked for: 1 inside, where the example has the label, else 0;
      `request` int64 [B], where asked for;
      what `history_inputs` gives, where asked for.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if a number is infinite; NaN is missing.
    """
    categorical: Sequence[str] = custom_config["categorical"]
    numeric: Sequence[str] = custom_config["numeric"]
    num_buckets: int = custom_config["num_buckets"]

    write_settings(custom_config)
    # `DenseTransform` finds the tensors that have names.

    texts, are_there = only_values({name: inputs[name] for name in categorical}, "")
    text_keys = tf.identity(categorical_keys(categorical, texts, are_there), TEXT_KEYS)
    keys, wide = [text_keys], tf.zeros([tf.shape(text_keys)[0], 0], tf.float32)
    if numeric:
        values, present = only_values({name: inputs[name] for name in numeric}, 0.0)
        values, present = finite_numbers(
            tf.identity(values, NUMBERS), tf.identity(present, HAS_NUMBER), numeric
        )
        boundaries = quantile_boundaries(values, present, num_buckets, "quantiles")
        buckets = quantile_buckets(values, present, boundaries)
        keys.append(bucket_keys(numeric, buckets, num_buckets))
        z_scores = log_z_scores(values, present, "moments")
        wide = tf.concat([z_scores, tf.cast(present, tf.float32)], axis=1)

    def one(name: str, default: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return only_values({name: inputs[name]}, default)

    scenario, _ = one(custom_config["scenario_column"], "")
    labels = [one(task, 0) for task in custom_config["tasks"]]
    outputs = {
        "keys": tf.concat(keys, axis=1),
        "numbers": wide,
        "scenario": _scenario_id(
            tf.identity(scenario[:, 0], SCENARIO_TEXTS), custom_config["scenarios"]
        ),
        "day": one(custom_config["day_column"], 0)[0][:, 0],
        "labels": tf.concat([tf.cast(values, tf.float32) for values, _ in labels], axis=1),
    }
    if custom_config.get("spaces"):
        outputs["spaces"] = tf.concat([tf.cast(found, tf.float32) for _, found in labels], axis=1)
    if custom_config.get("request_column"):
        outputs["request"] = one(custom_config["request_column"], 0)[0][:, 0]
    if custom_config.get("history"):
        outputs |= history_inputs(inputs, custom_config["history"], custom_config["scenarios"])
    return outputs


def _scenario_id(values: tf.Tensor, scenarios: Sequence[str]) -> tf.Tensor:
    """Position of each value in `scenarios`; the last position for all others."""
    is_listed = tf.equal(values[:, tf.newaxis], tf.constant(list(scenarios[:-1]))[tf.newaxis, :])
    position = tf.argmax(tf.cast(is_listed, tf.int32), axis=1)
    last = tf.constant(len(scenarios) - 1, tf.int64)
    return tf.where(tf.reduce_any(is_listed, axis=1), position, last)
