"""The transform graph from the point on where features are matrices."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from transforms.graph_settings import SCOPE, read_settings
from transforms.keys import categorical_keys

TEXT_KEYS = "text_keys"
"""int64 [B, F]."""

NUMBERS, HAS_NUMBER = "numbers_in", "has_number"
"""float32 [B, N] and bool [B, N]; not in a graph without numbers."""

SCENARIO_TEXTS = "scenario_texts"
"""string [B], "" where there is none."""

_OUTPUTS = ("keys", "numbers", "scenario")


class DenseTransform:
    """Applies a transform graph to matrices, as requests carry them.

    The graph that was fitted reads sparse columns, as examples are parsed into, and makes matrices
    of them first, and keys of those that hold text. It is run from there on, by the same ops; keys
    are computed by themselves, so that each text of a request is hashed once, and none for a column
    that a row lacks. What comes out is what the graph gives for examples that hold the same.

    Args:
      path: Folder of the graph's SavedModel, `TFTransformOutput.transform_savedmodel_dir`.

    Attributes:
      text_names: F features, the columns of `text_keys`.
      number_names: N features, the columns of `numbers`.
      scenario_name: The feature that names the scenario.

    Raises:
      ValueError: if the graph was not made by `transforms.preprocessing` of this version.
    """

    def __init__(self, path: str):
        self._loaded = tf.saved_model.load(path)
        settings = read_settings(path)
        self.text_names: Sequence[str] = settings["categorical"]
        self.number_names: Sequence[str] = settings["numeric"]
        self.scenario_name: str = settings["scenario_column"]
        fed = [TEXT_KEYS, SCENARIO_TEXTS]
        if self.number_names:
            fed += [NUMBERS, HAS_NUMBER]
        outputs = self._loaded.signatures["transform_signature"].structured_outputs
        self._function = self._loaded.prune(
            feeds=[self._tensor(name) for name in fed],
            fetches={
                name: self._loaded.graph.get_tensor_by_name(outputs[name].name) for name in _OUTPUTS
            },
        )

    def text_keys(self, names: Sequence[str], texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        """Keys of some features, as the graph computes them.

        Args:
          names: C features.
          texts: string [B, C].
          has_text: bool [B, C]; where it is false the text is missing.

        Returns:
          int64 [B, C].
        """
        return categorical_keys(names, texts, has_text)

    def __call__(
        self, text_keys: tf.Tensor, numbers: tf.Tensor, has_number: tf.Tensor, scenario: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The model's inputs but its history.

        Args:
          text_keys: int64 [B, F].
          numbers: float32 [B, N].
          has_number: bool [B, N]; where it is false the number is missing.
          scenario: string [S], "" where it is missing; S may differ from B.

        Returns:
          `keys`, `numbers` and `scenario`, [S], see `preprocessing_fn`.
        """
        fed = [text_keys, scenario]
        if self.number_names:
            fed += [numbers, has_number]
        return self._function(*fed)

    def _tensor(self, name: str) -> tf.Tensor:
        return self._loaded.graph.get_tensor_by_name(f"{SCOPE}{name}:0")
