"""What a request to the served model carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

MISSING = b"\xff"
"""In place of a text that is missing; no UTF-8 text is this. A missing number is NaN."""


_TYPES = {"text": tf.string, "numbers": tf.float32}


class Statistics(Protocol):
    """Features that the model looks up for a request.

    Attributes:
      by: The features that each is looked up by, by its name.
      columns: All of these, each once.
    """

    by: Mapping[str, Sequence[str]]

    @property
    def columns(self) -> Sequence[str]:
        """See above."""

    def look_up(self, texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        """The statistics, float32 [B, S], of `columns`: string [B, C] and bool [B, C]."""

    def __call__(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parsed features, [B, <= 1] each, with every statistic added that a row lacks."""


class RequestLayout:
    """Which columns a request carries, as an example, or in matrices for one user and N candidates.

    Args:
      feature_spec: How the raw features are parsed from an example; text is string, a number
        float32.
      histories: Those of the spec that hold a value a behaviour of the user. With them the model
        also takes `history_keys` int64 [B, T, C], `history_properties` float32 [B, T, P] and
        `history_length` int64 [B].
      raw_numbers: Those of the spec, or of the statistics, that the model also takes as they are:
        float32 [B] by the names that `keras_models.serving_model.raw_number` gives them, NaN where
        an example has none.
      items: Those of the spec that differ from candidate to candidate; all others are of the user
        and the context. Without any there are no ranking requests.
      statistics: Further raw features, float32, that the model looks up by those of the spec; those
        by a column of the items are the candidate's.

    Attributes:
      columns: Names of the raw columns by matrix: `user_text`, `user_numbers`, `item_text`,
        `item_numbers`, `history_text`, `history_numbers`, and of the user's those that scoring a
        candidate needs too, `context_text` and `context_numbers`.
      plain: Specs of the features with one value a row, by name.
      item_statistics: Names of the candidate's statistics.

    Raises:
      ValueError: if one of the items is no feature, or a history.
    """

    def __init__(
        self,
        feature_spec: Mapping[str, Any],
        histories: Sequence[str] = (),
        raw_numbers: Sequence[str] = (),
        items: Sequence[str] = (),
        statistics: Statistics | None = None,
    ):
        plain = {name: spec for name, spec in feature_spec.items() if name not in histories}
        self.feature_spec = dict(feature_spec)
        self.plain = plain
        self.histories = tuple(histories)
        self.raw_numbers = tuple(raw_numbers)
        self.items = tuple(items)
        unknown = [name for name in items if name not in plain]
        if unknown:
            raise ValueError(
                f"items: found {', '.join(unknown)}; expected columns among {', '.join(plain)}"
            )
        by = {} if statistics is None else statistics.by
        self.item_statistics = [name for name, of in by.items() if set(of) & set(items)]
        looked_up = {*self.item_statistics, *(set(raw_numbers) & set(by))}
        needed = {column for name in looked_up for column in by[name]} | set(raw_numbers)
        users = [name for name in plain if name not in items]
        sides = {
            "user": users,
            "context": [name for name in users if name in needed],
            "item": [name for name in plain if name in items],
            "history": list(histories),
        }
        self.columns = {
            f"{side}_{kind}": [name for name in names if feature_spec[name].dtype == dtype]
            for side, names in sides.items()
            for kind, dtype in _TYPES.items()
        }

    def plain_of(self, kind: str) -> list[str]:
        """Names of the features with one value a row, of the kind `text` or `numbers`."""
        dtype = _TYPES[kind]
        return [name for name, spec in self.plain.items() if spec.dtype == dtype]

    def specs(self, *sides: str) -> dict[str, tf.TensorSpec]:
        """The matrices of some sides, `user`, `context`, `item` or `history`, that have columns."""
        specs = {}
        for side in sides:
            for kind, dtype in _TYPES.items():
                name = f"{side}_{kind}"
                if self.columns[name]:
                    rows = None if side in ("item", "history") else 1
                    specs[name] = tf.TensorSpec([rows, len(self.columns[name])], dtype, name)
        return specs
