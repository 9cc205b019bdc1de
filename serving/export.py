"""Writes the SavedModel that is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from serving.signatures import (
    REQUEST_COLUMNS,
    SERVING_DEFAULT,
    ServingSignatures,
    Statistics,
)

if TYPE_CHECKING:
    import tensorflow_transform as tft


class HasServingForm(Protocol):
    """A model that can be served."""

    def for_serving(self) -> tf.Module:
        """The model as a callable module in stock ops: its inputs to outputs, both by name."""


def export(
    model: HasServingForm,
    transform_output: tft.TFTransformOutput,
    feature_names: Sequence[str],
    tasks: Sequence[str],
    destination: str,
    statistics: Statistics | None = None,
    histories: Sequence[str] = (),
    raw_numbers: Sequence[str] = (),
) -> None:
    """Writes a SavedModel that maps serialized tf.Examples to what each task predicts.

    It holds the transform graph, so that a request carries raw columns and the graph
    that made the training inputs makes the serving inputs. Labels are no input of it.

    Args:
      model: The trained model.
      transform_output: The transform graph that it was trained with.
      feature_names: Raw features that a request carries; repeats count once.
      tasks: Names that the model's outputs must have.
      destination: Folder to write.
      statistics: Looks up features of the transform graph that a request does not carry.
      histories: Further raw features that a request carries, of several values each: what the user
        did before, oldest first.
      raw_numbers: Those of the features, float32, that the model's serving form also takes as they
        are, such as a length in the fused score.

    Raises:
      ValueError: if the transform graph has no such feature or statistic, or has it as neither
        string nor float32, if the model's inputs depend on a feature that is not listed, or if
        a task has no output.
    """
    known = transform_output.raw_feature_spec()
    for name in [*feature_names, *histories, *(statistics.names if statistics else ())]:
        if name not in known:
            raise ValueError(
                f"feature_names: found {name}; expected raw features of the transform graph: "
                f"{', '.join(sorted(known))}"
            )
        if known[name].dtype not in (tf.string, tf.float32):
            raise ValueError(
                f"feature {name}: found {known[name].dtype.name}; expected string or float32"
            )
    signatures = ServingSignatures(
        transform_output.transform_features_layer(),
        {name: known[name] for name in (*feature_names, *histories)},
        model.for_serving(),
        tasks,
        statistics,
        histories,
        raw_numbers,
    )
    tf.saved_model.save(
        signatures,
        destination,
        signatures={
            SERVING_DEFAULT: signatures.serving_default,
            REQUEST_COLUMNS: signatures.request_columns,
        },
    )
