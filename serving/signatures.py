"""What the served model answers: one traced graph a signature, in stock ops only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

SERVING_DEFAULT = "serving_default"
"""Serialized tf.Examples to what each task predicts."""

REQUEST_COLUMNS = "request_columns"
"""No input; the names of the columns that an example carries, `text` and `numeric`, of those among
them that hold several values, `histories`, and of those that the model looks up where an example
does not carry them, `statistics`."""

_MODEL_INPUTS = ("keys", "numbers", "scenario")
_HISTORY_INPUTS = ("history_keys", "history_properties", "history_length")


class Statistics(Protocol):
    """Features that the model looks up for a request.

    Attributes:
      names: Their names.
    """

    names: Sequence[str]

    def __call__(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parsed features, [B, <= 1] each, with every statistic added that a row lacks."""


class ServingSignatures(tf.Module):
    """A ranking model behind the transform graph it was trained with.

    Args:
      transform: The transform graph: raw features by name to `keys`, `numbers`, `scenario`.
      feature_spec: How the raw features are parsed from an example; text is string, a number
        is float32.
      model: The serving form of a model: {"keys" int64 [B, F], "numbers" float32 [B, 2N],
        "scenario" int64 [B]} to outputs by name, each float32 [B] or [B, C]: a task's under the
        task's name, and whatever else it serves.
      tasks: Names that the outputs must have.
      statistics: Further raw features, float32, that the model looks up by those of the spec.
      histories: Those of the spec that hold a value a behaviour of the user. With them the model
        also takes `history_keys` int64 [B, T, C], `history_properties` float32 [B, T, P] and
        `history_length` int64 [B].
      raw_numbers: Those of the spec, or of the statistics, that the model also takes as they are:
        float32 [B] by their names, NaN where an example has none.
    """

    def __init__(
        self,
        transform: Callable[[Mapping[str, Any]], Mapping[str, tf.Tensor]],
        feature_spec: Mapping[str, Any],
        model: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
        tasks: Sequence[str],
        statistics: Statistics | None = None,
        histories: Sequence[str] = (),
        raw_numbers: Sequence[str] = (),
    ):
        super().__init__()
        # As attributes of a module, the tables and variables of all three are saved with it.
        self._statistics = statistics
        self._transform = transform
        self._feature_spec = dict(feature_spec)
        self._model = model
        self._tasks = tuple(tasks)
        self._histories = tuple(histories)
        self._raw_numbers = tuple(raw_numbers)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores serialized tf.Examples.

        Args:
          examples: string [B].

        Returns:
          The model's outputs: each task's probability, or what else it predicts, float32 [B], of
          a multiclass task [B, C].

        Raises:
          ValueError: while it is traced, if the model's inputs need a feature that is not in
            the spec, or if a task has no output.
        """
        # Servers feed whatever shape a request claims.
        examples = tf.ensure_shape(examples, [None])
        raw = self._raw_features(examples)
        transformed = self._transform(raw)
        names = _MODEL_INPUTS + (_HISTORY_INPUTS if self._histories else ())
        lacking = [name for name in names if name not in transformed]
        if lacking:
            raise ValueError(
                f"features: found {', '.join(self._feature_spec)}; expected all that "
                f"{', '.join(lacking)} are computed from"
            )
        inputs = {name: transformed[name] for name in names}
        outputs = self._model(inputs | {name: _number(raw[name]) for name in self._raw_numbers})
        if not set(self._tasks) <= set(outputs):
            raise ValueError(
                f"the model's outputs: found {', '.join(outputs)}; expected one for each of the "
                f"tasks {', '.join(self._tasks)}"
            )
        return outputs

    @tf.function(input_signature=[])
    def request_columns(self) -> dict[str, tf.Tensor]:
        """Tells a client how to write an example.

        Returns:
          Names of the columns that are written as bytes, `text`, and as floats, `numeric`; of those
          among them that hold several values, `histories`; and of the `statistics`, which a request
          leaves out.
        """

        def names(found: Sequence[str]) -> tf.Tensor:
            return tf.constant(list(found), tf.string, shape=[len(found)])

        def columns(dtype: tf.DType) -> list[str]:
            return [name for name, spec in self._feature_spec.items() if spec.dtype == dtype]

        return {
            "text": names(columns(tf.string)),
            "numeric": names(columns(tf.float32)),
            "histories": names(self._histories),
            "statistics": names(self._statistics.names if self._statistics else ()),
        }

    def _raw_features(self, examples: tf.Tensor) -> Mapping[str, Any]:
        if self._statistics is None:
            return tf.io.parse_example(examples, self._feature_spec)
        carried = dict.fromkeys(self._statistics.names, tf.io.VarLenFeature(tf.float32))
        return self._statistics(tf.io.parse_example(examples, {**self._feature_spec, **carried}))


def _number(feature: tf.SparseTensor) -> tf.Tensor:
    """First value of each row, NaN where there is none, float32 [B]."""
    # A batch in which every row lacks the feature has a second dimension of 0.
    shape = tf.stack([feature.dense_shape[0], tf.maximum(feature.dense_shape[1], 1)])
    widened = tf.SparseTensor(feature.indices, feature.values, shape)
    return tf.sparse.to_dense(widened, float("nan"))[:, 0]
