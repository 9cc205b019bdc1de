"""The transform graph as a plain module, to be saved within another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    import tensorflow_transform as tft


class PlainTransform(tf.Module):
    """Applies a transform graph, as `TFTransformOutput.transform_features_layer()` does.

    That is a Keras model, which Keras traces twice more when what holds it is saved: seconds of
    every export, and two more copies of the graph in what servers load.

    Args:
      transform_output: The graph.
    """

    def __init__(self, transform_output: tft.TFTransformOutput):
        super().__init__()
        from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

        loader = SavedModelLoader(transform_output.transform_savedmodel_dir)
        # As attributes of a module, its tables are saved with it. Its signatures must not be: their
        # arguments are named after features, and two names may be one as names of arguments.
        loaded = loader._imported
        self._resources = [loaded.variables, loaded.initializer, loaded.asset_paths]
        self._apply = loader.apply_transform_model

    def __call__(self, raw: Mapping[str, Any]) -> Mapping[str, tf.Tensor]:
        """Transformed features, as far as they depend on the given raw ones alone.

        Args:
          raw: Raw features by name, dense or sparse.
        """
        transformed: Mapping[str, tf.Tensor] = self._apply(raw)
        return transformed
