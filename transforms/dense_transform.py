"""The transform graph from the point on where features are matrices."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

TEXT_NAMES, NUMBER_NAMES, SCENARIO_NAME = "text_names", "number_names", "scenario_name"
"""Constants of the graph: the features that are the columns of `texts` and `numbers`, and the one
that is `scenario_texts`."""

TEXTS, HAS_TEXT = "texts", "has_text"
"""string [B, F] and bool [B, F]."""

NUMBERS, HAS_NUMBER = "numbers_in", "has_number"
"""float32 [B, N] and bool [B, N]; not in a graph without numbers."""

SCENARIO_TEXTS = "scenario_texts"
"""string [B], "" where there is none."""

_OUTPUTS = ("keys", "numbers", "scenario")
_SCOPE = "transform/"  # In which tf.Transform calls a preprocessing function.


class DenseTransform:
    """Applies a transform graph to matrices, as requests carry them.

    The graph that was fitted reads sparse columns, as examples are parsed into, and makes matrices
    of them first. It is run from there on, by the same ops: what comes out is what it gives for
    examples that hold the same.

    Args:
      path: Folder of the graph's SavedModel, `TFTransformOutput.transform_savedmodel_dir`.

    Attributes:
      text_names: F features, the columns of `texts`.
      number_names: N features, the columns of `numbers`.
      scenario_name: The feature that names the scenario.

    Raises:
      ValueError: if the graph was not made by `transforms.preprocessing` of this version.
    """

    def __init__(self, path: str):
        self._loaded = tf.saved_model.load(path)
        self._path = path
        self.text_names: Sequence[str] = self._constant(TEXT_NAMES)
        self.number_names: Sequence[str] = self._constant(NUMBER_NAMES)
        (self.scenario_name,) = self._constant(SCENARIO_NAME)
        fed = [TEXTS, HAS_TEXT, SCENARIO_TEXTS]
        if self.number_names:
            fed += [NUMBERS, HAS_NUMBER]
        outputs = self._loaded.signatures["transform_signature"].structured_outputs
        self._function = self._loaded.prune(
            feeds=[self._tensor(name) for name in fed],
            fetches={
                name: self._loaded.graph.get_tensor_by_name(outputs[name].name) for name in _OUTPUTS
            },
        )

    def __call__(
        self,
        texts: tf.Tensor,
        has_text: tf.Tensor,
        numbers: tf.Tensor,
        has_number: tf.Tensor,
        scenario: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The model's inputs but its history.

        Args:
          texts: string [B, F].
          has_text: bool [B, F]; where it is false the text is missing.
          numbers: float32 [B, N].
          has_number: bool [B, N]; likewise.
          scenario: string [B], "" where it is missing.

        Returns:
          `keys`, `numbers` and `scenario`, see `preprocessing_fn`.
        """
        fed = [texts, has_text, scenario]
        if self.number_names:
            fed += [numbers, has_number]
        return self._function(*fed)

    def _tensor(self, name: str) -> tf.Tensor:
        try:
            return self._loaded.graph.get_tensor_by_name(f"{_SCOPE}{name}:0")
        except KeyError:
            raise ValueError(
                f"{self._path}: found no tensor {_SCOPE}{name}; expected a transform graph that "
                "this version fitted. Fit it again."
            ) from None

    def _constant(self, name: str) -> list[str]:
        value = tf.make_ndarray(self._tensor(name).op.get_attr("value"))
        return [text.decode() for text in value.ravel().tolist()]
