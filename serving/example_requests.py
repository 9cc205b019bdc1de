"""Requests to a served model, made of the examples that it was trained or evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from serving.request_layout import MISSING

Columns = Mapping[str, Sequence[str]]
"""The names that the signature `request_columns` gives."""


def request_examples(raw: Sequence[bytes], columns: Columns) -> list[bytes]:
    """Examples as a caller has them: without labels, and without what the model looks up.

    Args:
      raw: B serialized tf.Examples.
      columns: The model's.
    """
    asked = {*columns["text"], *columns["numeric"]}
    return [_joined((example, asked)) for example in map(tf.train.Example.FromString, raw)]


def one_users_examples(raw: Sequence[bytes], columns: Columns) -> list[bytes]:
    """Examples of one user and context, each with the candidate of another one.

    Args:
      raw: N serialized tf.Examples. The user is that of the one with most behaviours, if the model
        takes histories, else of the first.
      columns: The model's, with those of ranking requests.
    """
    examples = [tf.train.Example.FromString(example) for example in raw]
    user = max(examples, key=lambda e: max([0, *(_length(e, n) for n in columns["histories"])]))
    items = {*columns["item_text"], *columns["item_numbers"]}
    others = {*columns["text"], *columns["numeric"]} - items
    return [_joined((user, others), (example, items)) for example in examples]


def ranking_matrices(
    examples: Sequence[bytes], columns: Columns, sides: Sequence[str]
) -> dict[str, np.ndarray]:
    """Inputs of a ranking request that asks what `examples` ask.

    Args:
      examples: From `one_users_examples`, at least one.
      columns: The model's.
      sides: Which matrices are wanted, of `user`, `context`, `history` and `item`.

    Returns:
      By name, of those that have columns: text as objects, numbers as float32; [1, columns] of
      the user and the context, [T, columns] of the T behaviours, [N, columns] of N items.
    """
    parsed = [tf.train.Example.FromString(example) for example in examples]
    matrices = {}
    for side in sides:
        for kind, missing, dtype in (("text", MISSING, object), ("numbers", np.nan, np.float32)):
            names = columns[f"{side}_{kind}"]
            if not names:
                continue
            if side == "history":
                rows = list(zip(*(_values(parsed[0], name) for name in names), strict=True))
            else:
                asked = parsed if side == "item" else parsed[:1]
                rows = [tuple((_values(e, n) or [missing])[0] for n in names) for e in asked]
            matrix = np.empty((len(rows), len(names)), dtype)
            for row, values in enumerate(rows):
                matrix[row] = values
            matrices[f"{side}_{kind}"] = matrix
    return matrices


def _joined(*parts: tuple[tf.train.Example, set[str]]) -> bytes:
    """An example of some features of each of several ones."""
    joined = tf.train.Example()
    for example, names in parts:
        for name in names & set(example.features.feature):
            joined.features.feature[name].CopyFrom(example.features.feature[name])
    # The same bytes for the same features.
    serialized: bytes = joined.SerializeToString(deterministic=True)
    return serialized


def _values(example: tf.train.Example, name: str) -> Sequence[bytes] | Sequence[float]:
    feature = example.features.feature.get(name)
    if feature is None:
        return []
    return feature.bytes_list.value or feature.float_list.value


def _length(example: tf.train.Example, name: str) -> int:
    return len(_values(example, name))
