"""What the served model answers about serialized examples, and how to write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_models.heads.fusion import SCORE
from keras_models.serving_model import raw_number
from serving.request_layout import RequestLayout, Statistics

SERVING_DEFAULT = "serving_default"
"""Serialized tf.Examples to what each task predicts."""

CLASSIFY = "classify"
"""For TensorFlow Serving's Classify: the binary tasks are the classes, probabilities the scores."""

REGRESS = "regress"
"""For TensorFlow Serving's Regress: the fused score, or, without one, the first task's output."""

REQUEST_COLUMNS = "request_columns"
"""No input; names of what a request carries, see `ExampleSignatures.request_columns`."""

MODEL_INPUTS = ("keys", "numbers", "scenario")
HISTORY_INPUTS = ("history_keys", "history_properties", "history_length")


class ExampleSignatures(tf.Module):
    """A ranking model behind the transform graph it was trained with, asked about examples.

    Args:
      transform: The transform graph: raw features by name to `keys`, `numbers`, `scenario`.
      layout: Which raw features an example carries.
      model: The serving form of a model: {"keys" int64 [B, F], "numbers" float32 [B, 2N],
        "scenario" int64 [B]}, and what else the layout says, to outputs by name, each float32 [B]
        or [B, C]: a task's under the task's name, and whatever else it serves.
      tasks: Names that the outputs must have.
      binary_tasks: Those among them whose output is a probability.
      statistics: What the model looks up itself.
      scenarios: Names of those that the model knows.
    """

    def __init__(
        self,
        transform: Callable[[Mapping[str, Any]], Mapping[str, tf.Tensor]],
        layout: RequestLayout,
        model: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
        tasks: Sequence[str],
        binary_tasks: Sequence[str] = (),
        statistics: Statistics | None = None,
        scenarios: Sequence[str] = (),
    ):
        super().__init__()
        # As attributes of a module, the tables and variables of all three are saved with it.
        self._statistics = statistics
        self._transform = transform
        self._layout = layout
        self._model = model
        self._tasks = tuple(tasks)
        self._binary_tasks = tuple(binary_tasks)
        self._scenarios = tuple(scenarios)

    def signatures(self) -> dict[str, Any]:
        """The traced signatures, by name."""
        found = {
            SERVING_DEFAULT: self._traced("examples", self.serving_default),
            REQUEST_COLUMNS: tf.function(self.request_columns).get_concrete_function(),
        }
        outputs = found[SERVING_DEFAULT].structured_outputs
        if self._binary_tasks:
            found[CLASSIFY] = self._traced("inputs", self._classify)
        ranks_by = [name for name in (SCORE, *self._tasks) if name in outputs]
        one = [name for name in ranks_by if outputs[name].shape.rank == 1]
        if one:
            found[REGRESS] = self._traced(
                "inputs", lambda examples: {"outputs": self.serving_default(examples)[one[0]]}
            )
        return found

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores serialized tf.Examples.

        Args:
          examples: string [B].

        Returns:
          The model's outputs: each task's probability, or what else it predicts, float32 [B], of
          a multiclass task [B, C].

        Raises:
          ValueError: if the model's inputs need a feature that is not in the layout, or if a task
            has no output.
        """
        raw = self._raw_features(examples)
        transformed = self._transform(raw)
        names = MODEL_INPUTS + (HISTORY_INPUTS if self._layout.histories else ())
        lacking = [name for name in names if name not in transformed]
        if lacking:
            raise ValueError(
                f"features: found {', '.join(self._layout.feature_spec)}; expected all that "
                f"{', '.join(lacking)} are computed from"
            )
        inputs = {name: transformed[name] for name in names}
        inputs |= {raw_number(name): first_number(raw[name]) for name in self._layout.raw_numbers}
        outputs = self._model(inputs)
        if not set(self._tasks) <= set(outputs):
            raise ValueError(
                f"the model's outputs: found {', '.join(outputs)}; expected one for each of the "
                f"tasks {', '.join(self._tasks)}"
            )
        return outputs

    def request_columns(self) -> dict[str, tf.Tensor]:
        """Tells a client how to write a request.

        Returns:
          string, names: of the columns that an example carries as bytes, `text`, and as floats,
          `numeric`; of those among them that hold several values, `histories`; of the `statistics`,
          which a request leaves out; of the `scenarios` that the model knows; and of the columns of
          each matrix of a ranking request, under the matrix's name (`RequestLayout.columns`).
        """
        by_type = {"text": tf.string, "numeric": tf.float32}
        found: dict[str, Iterable[str]] = {
            kind: [name for name, spec in self._layout.feature_spec.items() if spec.dtype == dtype]
            for kind, dtype in by_type.items()
        }
        found["histories"] = self._layout.histories
        found["statistics"] = self._statistics.by if self._statistics else ()
        found["scenarios"] = self._scenarios
        if self._layout.items:
            found |= self._layout.columns
        return {
            kind: tf.constant(list(names), tf.string, shape=[len(list(names))])
            for kind, names in found.items()
        }

    def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self.serving_default(examples)
        scores = tf.stack([outputs[task] for task in self._binary_tasks], axis=1)
        return {
            "classes": tf.broadcast_to(tf.constant(list(self._binary_tasks)), tf.shape(scores)),
            "scores": scores,
        }

    def _raw_features(self, examples: tf.Tensor) -> Mapping[str, Any]:
        spec = self._layout.feature_spec
        if self._statistics is None:
            return tf.io.parse_example(examples, spec)
        carried = dict.fromkeys(self._statistics.by, tf.io.VarLenFeature(tf.float32))
        return self._statistics(tf.io.parse_example(examples, {**spec, **carried}))

    @staticmethod
    def _traced(name: str, function: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Any:
        def call(**given: tf.Tensor) -> dict[str, tf.Tensor]:
            # Servers feed whatever shape a request claims.
            return function(tf.ensure_shape(given[name], [None]))

        spec = tf.TensorSpec([None], tf.string, name=name)
        return tf.function(call, autograph=False).get_concrete_function(**{name: spec})


def first_number(feature: tf.SparseTensor) -> tf.Tensor:
    """First value of each row, NaN where there is none, float32 [B]."""
    # A batch in which every row lacks the feature has a second dimension of 0.
    shape = tf.stack([feature.dense_shape[0], tf.maximum(feature.dense_shape[1], 1)])
    widened = tf.SparseTensor(feature.indices, feature.values, shape)
    return tf.sparse.to_dense(widened, float("nan"))[:, 0]
