"""One version of a model in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class Servable:
    """A SavedModel loaded as TensorFlow Serving does, into a Session.

    Args:
      path: Folder of the SavedModel.

    Raises:
      OSError: if there is no SavedModel.
      tf.errors.OpError: if it cannot be loaded.
    """

    def __init__(self, path: str):
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            with self._graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], path)
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., Any]] = {}
        self._making = threading.Lock()

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """Runs the graph; any number of threads may.

        Args:
          feeds: Values by tensor name.
          fetches: Tensor names.

        Returns:
          The values of `fetches`.

        Raises:
          tf.errors.OpError: if an op fails.
        """
        key = (tuple(feeds), tuple(fetches))
        with self._making:
            if key not in self._callables:
                with self._graph.as_default():
                    self._callables[key] = self._session.make_callable(
                        list(fetches), feed_list=list(feeds)
                    )
            call = self._callables[key]
        return call(*feeds.values())

    def close(self) -> None:
        """Frees the model; nothing may run any more."""
        self._callables.clear()
        self._session.close()
