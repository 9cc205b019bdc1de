"""One version of a model in memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_MOST_CALLABLES = 64  # A callable a set of outputs that requests ask for; clients may ask for any.
_OF_LOADING = ("__saved_model_init_op", "__saved_model_train_op")


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
        # All of them are told; those that loading runs are none that a request could.
        self.signature_defs: Mapping[str, Any] = dict(meta_graph.signature_def)
        self.signatures = {n: s for n, s in self.signature_defs.items() if n not in _OF_LOADING}
        self._making = threading.Lock()
        self._callable = functools.lru_cache(_MOST_CALLABLES)(self._make_callable)

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
        call = self._callable(tuple(feeds), tuple(fetches))
        try:
            values = call(*feeds.values())
        except UnicodeDecodeError as error:
            # Instead of the op's error, where its text quotes bytes that are no UTF-8; only what a
            # request holds can be such bytes.
            text = error.object.decode(errors="replace")
            raise tf.errors.InvalidArgumentError(None, None, text) from error
        # A scalar of text comes as bytes; an array of their own type would drop zeros at its end.
        return [np.asarray(v, object if isinstance(v, bytes) else None) for v in values]

    def close(self) -> None:
        """Frees the model; nothing may run any more."""
        self._callable.cache_clear()
        self._session.close()

    def _make_callable(
        self, feeds: tuple[str, ...], fetches: tuple[str, ...]
    ) -> Callable[..., Any]:
        with self._making, self._graph.as_default():
            return self._session.make_callable(list(fetches), feed_list=list(feeds))
