"""What the served model answers: one traced graph a signature, in stock ops only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

SERVING_DEFAULT = "serving_default"
"""Serialized tf.Examples to probabilities."""

REQUEST_COLUMNS = "request_columns"
"""No input; the names of the columns that an example carries, `text` and `numeric`, and of those
that the model looks up where an example does not carry them, `statistics`."""

_MODEL_INPUTS = ("keys", "numbers", "scenario")


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
        "scenario" int64 [B]} to logits float32 [B, K].
      tasks: K names, in the order of the logits.
      statistics: Further raw features, float32, that the model looks up by those of the spec.
    """

    def __init__(
        self,
        transform: Callable[[Mapping[str, Any]], Mapping[str, tf.Tensor]],
        feature_spec: Mapping[str, Any],
        model: Callable[[dict[str, tf.Tensor]], tf.Tensor],
        tasks: Sequence[str],
        statistics: Statistics | None = None,
    ):
        super().__init__()
        # As attributes of a module, the tables and variables of all three are saved with it.
        self._statistics = statistics
        self._transform = transform
        self._feature_spec = dict(feature_spec)
        self._model = model
        self._tasks = tuple(tasks)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores serialized tf.Examples.

        Args:
          examples: string [B].

        Returns:
          Each task's probability, float32 [B].

        Raises:
          ValueError: while it is traced, if the model's inputs need a feature that is not in
            the spec, or if tasks and logits differ in number.
        """
        # Servers feed whatever shape a request claims.
        examples = tf.ensure_shape(examples, [None])
        transformed = self._transform(self._raw_features(examples))
        lacking = [name for name in _MODEL_INPUTS if name not in transformed]
        if lacking:
            raise ValueError(
                f"features: found {', '.join(self._feature_spec)}; expected all that "
                f"{', '.join(lacking)} are computed from"
            )
        logits = self._model({name: transformed[name] for name in _MODEL_INPUTS})
        if logits.shape[-1] != len(self._tasks):
            raise ValueError(
                f"the model's logits: found shape {logits.shape}; expected [B, {len(self._tasks)}]"
                f" for the tasks {', '.join(self._tasks)}"
            )
        probabilities = tf.unstack(tf.sigmoid(logits), num=len(self._tasks), axis=1)
        return dict(zip(self._tasks, probabilities, strict=True))

    @tf.function(input_signature=[])
    def request_columns(self) -> dict[str, tf.Tensor]:
        """Tells a client how to write an example.

        Returns:
          Names of the columns that are written as bytes, `text`, and as floats, `numeric`; and of
          the `statistics`, which a request leaves out.
        """

        def names(found: Sequence[str]) -> tf.Tensor:
            return tf.constant(list(found), tf.string, shape=[len(found)])

        def columns(dtype: tf.DType) -> list[str]:
            return [name for name, spec in self._feature_spec.items() if spec.dtype == dtype]

        return {
            "text": names(columns(tf.string)),
            "numeric": names(columns(tf.float32)),
            "statistics": names(self._statistics.names if self._statistics else ()),
        }

    def _raw_features(self, examples: tf.Tensor) -> Mapping[str, Any]:
        if self._statistics is None:
            return tf.io.parse_example(examples, self._feature_spec)
        carried = dict.fromkeys(self._statistics.names, tf.io.VarLenFeature(tf.float32))
        return self._statistics(tf.io.parse_example(examples, {**self._feature_spec, **carried}))
