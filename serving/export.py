"""Writes the SavedModel that is served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from serving.plain_transform import PlainTransform
from serving.ranking_signatures import RankingSignatures, TransformsMatrices
from serving.request_layout import RequestLayout, Statistics
from serving.signatures import CLASSIFY, REGRESS, ExampleSignatures

if TYPE_CHECKING:
    import tensorflow_transform as tft

    from keras_models.embeddings import RowFormat

_METHOD_NAMES = {CLASSIFY: "tensorflow/serving/classify", REGRESS: "tensorflow/serving/regress"}
"""By which TensorFlow Serving knows what a signature is for."""


class HasServingForm(Protocol):
    """A model that can be served."""

    def for_serving(
        self, item_fields: Collection[str] = (), embedding_rows: RowFormat = "float32"
    ) -> tf.Module:
        """The model as a callable module in stock ops: its inputs to outputs, both by name.

        Args:
          item_fields: Fields that differ from candidate to candidate; where there are any, the
            module also is a `serving.ranking_signatures.RanksItems`.
          embedding_rows: How it keeps the rows of embeddings.
        """


def export(
    model: HasServingForm,
    transform_output: tft.TFTransformOutput,
    feature_names: Sequence[str],
    tasks: Sequence[str],
    destination: str,
    binary_tasks: Sequence[str] = (),
    statistics: Statistics | None = None,
    histories: Sequence[str] = (),
    raw_numbers: Sequence[str] = (),
    items: Sequence[str] = (),
    dense_transform: TransformsMatrices | None = None,
    scenarios: Sequence[str] = (),
    embedding_rows: RowFormat = "float32",
) -> dict[str, list[str]]:
    """Writes a SavedModel that maps serialized tf.Examples to what each task predicts.

    It holds the transform graph, so that a request carries raw columns and the graph
    that made the training inputs makes the serving inputs. Labels are no input of it.

    Args:
      model: The trained model.
      transform_output: The transform graph that it was trained with.
      feature_names: Raw features that a request carries; repeats count once.
      tasks: Names that the model's outputs must have.
      destination: Folder to write.
      binary_tasks: Those of the tasks whose output is a probability.
      statistics: Looks up features of the transform graph that a request does not carry.
      histories: Further raw features that a request carries, of several values each: what the user
        did before, oldest first.
      raw_numbers: Those of the features, float32, that the model's serving form also takes as they
        are, such as a length in the fused score.
      items: Those of the features that differ from candidate to candidate; with them it also
        answers requests of one user and many candidates.
      dense_transform: The transform graph on matrices, which such requests need.
      scenarios: Names of those that the model knows.
      embedding_rows: How the rows of embeddings are kept: `float32`, as they were trained, or in
        fewer bytes as `float16` or `int8`.

    Returns:
      What the signature `request_columns` says of the model.

    Raises:
      ValueError: if the transform graph has no such feature or statistic, or has it as neither
        string nor float32, if the model's inputs depend on a feature that is not listed, or if
        a task has no output.
    """
    known = transform_output.raw_feature_spec()
    for name in [*feature_names, *histories, *(statistics.by if statistics else ())]:
        if name not in known:
            raise ValueError(
                f"feature_names: found {name}; expected raw features of the transform graph: "
                f"{', '.join(sorted(known))}"
            )
        if known[name].dtype not in (tf.string, tf.float32):
            raise ValueError(
                f"feature {name}: found {known[name].dtype.name}; expected string or float32"
            )
    layout = RequestLayout(
        {name: known[name] for name in (*feature_names, *histories)},
        histories=histories,
        raw_numbers=raw_numbers,
        items=items,
        statistics=statistics,
    )
    transform = PlainTransform(transform_output)
    served = model.for_serving([*items, *layout.item_statistics], embedding_rows)
    root = tf.Module()
    root.examples = ExampleSignatures(
        transform, layout, served, tasks, binary_tasks, statistics, scenarios
    )
    signatures = root.examples.signatures()
    if items:
        assert dense_transform is not None, "items: found no dense_transform beside them"
        root.ranking = RankingSignatures(transform, dense_transform, layout, served, statistics)
        signatures |= root.ranking.signatures()
    tf.saved_model.save(root, destination, signatures=signatures)
    _name_methods(destination, [name for name in _METHOD_NAMES if name in signatures])
    columns = root.examples.request_columns()
    return {kind: [name.decode() for name in names.numpy()] for kind, names in columns.items()}


def _name_methods(destination: str, names: Sequence[str]) -> None:
    """Says what signatures are for, where that is not Predict."""
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(destination)
    for name in names:
        updater.replace_method_name(name, _METHOD_NAMES[name])
    updater.save()
