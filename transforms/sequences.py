"""Histories as model inputs: T behaviours a row, oldest first, padded behind the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.bucketize import quantile_boundaries, quantile_buckets
from transforms.finite import refusing
from transforms.history import AGE, MISSING, PREFIX
from transforms.keys import categorical_keys


def history_inputs(
    inputs: Mapping[str, tf.SparseTensor], settings: Mapping[str, Any], scenarios: Sequence[str]
) -> dict[str, tf.Tensor]:
    """A history's part of the transform graph.

    Args:
      inputs: Raw features by name, [B, any number]; those of a history have equally many values
        in a row, oldest first. Of more than T the newest count.
      settings: `items`, `scenario` (a column or None), `labels`, `age`, `age_buckets` and `length`
        T.
      scenarios: M names; the last one takes all others.

    Returns:
      `history_keys` int64 [B, T, C], a column an item, with the keys of the item's own field; 0
      where there is no behaviour.
      `history_properties` float32 [B, T, P]: M columns of the scenario and one a bucket of the age,
      one of each set, then the labels; 0 where there is no behaviour.
      `history_length` int64 [B], behaviours of each row, at most T.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if a row's features differ in length, or if a
        number is NaN or infinite: ingestion leaves out behaviours that lack one.
    """
    items, labels, steps = settings["items"], settings["labels"], settings["length"]
    scenario = settings["scenario"]
    names = [
        f"{PREFIX}{column}" for column in dict.fromkeys([*items, *([scenario] if scenario else [])])
    ]
    names += [f"{PREFIX}{task}" for task in labels] + ([AGE] if settings["age"] else [])
    ragged = {name: tf.RaggedTensor.from_sparse(inputs[name]) for name in names}
    lengths = tf.stack([ragged[name].row_lengths() for name in names], axis=1)
    length = tf.reduce_min(lengths, axis=1)
    message = f"{', '.join(names)} should have equally many values in a row"
    is_equal = tf.debugging.assert_equal(tf.reduce_max(lengths, axis=1), length, message)
    with tf.control_dependencies([is_equal]):
        length = tf.minimum(length, steps)

    def newest(name: str, default: Any) -> tf.Tensor:
        """The last T values of each row, [B * T]."""
        values = ragged[name][:, -steps:].to_tensor(default, shape=[None, steps])
        return tf.reshape(values, [-1])

    is_there = tf.reshape(tf.sequence_mask(length, steps), [-1])
    number_names = ([AGE] if settings["age"] else []) + [f"{PREFIX}{task}" for task in labels]
    numbers = {name: newest(name, 0.0) for name in number_names}
    if numbers:
        values = tf.stack(list(numbers.values()), axis=1)
        found = "found NaN or an infinite number; expected finite ones in"
        with refusing(~tf.math.is_finite(values), found, number_names):
            values = tf.identity(values)
        numbers = dict(zip(number_names, tf.unstack(values, axis=1), strict=True))
    texts = tf.stack([newest(f"{PREFIX}{column}", "") for column in items], axis=1)
    keys = categorical_keys(items, texts, tf.not_equal(texts, MISSING))
    parts = []
    if scenario is not None:
        names_of = newest(f"{PREFIX}{scenario}", "")
        listed = tf.equal(names_of[:, tf.newaxis], tf.constant(list(scenarios[:-1])))
        other = ~tf.reduce_any(listed, axis=1, keepdims=True)
        parts.append(tf.cast(tf.concat([listed, other], axis=1), tf.float32))
    if settings["age"]:
        buckets = settings["age_buckets"]
        age, is_age = numbers[AGE][:, tf.newaxis], is_there[:, tf.newaxis]
        boundaries = quantile_boundaries(age, is_age, buckets, "quantiles_history_age")
        bucket = quantile_buckets(age, is_age, boundaries)
        parts.append(tf.one_hot(bucket[:, 0], buckets))
    if labels:
        parts.append(tf.stack([numbers[f"{PREFIX}{task}"] for task in labels], axis=1))
    properties = tf.where(is_there[:, tf.newaxis], tf.concat(parts, axis=1), 0.0)
    keys = tf.where(is_there[:, tf.newaxis], keys, tf.zeros_like(keys))
    return {
        "history_keys": tf.reshape(keys, [-1, steps, len(items)]),
        "history_properties": tf.reshape(properties, [-1, steps, properties.shape[1]]),
        "history_length": length,
    }
