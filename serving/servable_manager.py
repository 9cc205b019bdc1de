"""Keeps the newest version of a model loaded."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.request_error import RequestError
from serving.servable import Servable
from serving.versions import latest

_LOAD_RETRIES = 5  # As TensorFlow Serving's --max_num_load_retries.
_UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionState:
    """Where a version stands: a state of `ModelVersionStatus` and, for one that failed, why."""

    state: int
    error_code: int = 0
    error_message: str = ""


@dataclass
class _Loaded:
    version: int
    servable: Servable
    users: int = 0
    retired: bool = False


class ServableManager:
    """Loads the newest version of a base folder, and replaces it when a newer one appears.

    The next version is loaded before the last one goes, and that one is freed when the last
    request on it has been answered. A version that does not load leaves the last one in place.

    Args:
      model_name: Name under which the model is served.
      base_dir: Folder of the versions.
    """

    def __init__(self, model_name: str, base_dir: str):
        self.model_name = model_name
        self._base_dir = base_dir
        self._current: _Loaded | None = None
        self._states: dict[int, VersionState] = {}
        self._failures: dict[int, int] = {}
        self._lock = threading.Lock()
        self._polling = threading.Lock()

    @property
    def version(self) -> int | None:
        """The version that is loaded."""
        with self._lock:
            return None if self._current is None else self._current.version

    def poll(self) -> None:
        """Looks for a new version, and loads it."""
        with self._polling:
            found = latest(self._base_dir)
            if found is None:
                return
            version, path = found
            if version == self.version or self._failures.get(version, 0) > _LOAD_RETRIES:
                return
            self._set_state(version, VersionState(ModelVersionStatus.LOADING))
            try:
                servable = Servable(os.fspath(path))
            except Exception as error:
                self._failures[version] = self._failures.get(version, 0) + 1
                code = error.error_code if isinstance(error, tf.errors.OpError) else _UNKNOWN
                self._set_state(version, VersionState(ModelVersionStatus.END, code, str(error)))
                _logger.error("%s version %d does not load: %s", self.model_name, version, error)
                return
            self._replace(_Loaded(version, servable))
            _logger.info("%s version %d is available", self.model_name, version)

    @contextlib.contextmanager
    def use(self, version: int | None = None) -> Iterator[tuple[int, Servable]]:
        """Holds a version while a request is answered.

        Args:
          version: Its number; None for the newest that is loaded.

        Yields:
          Its number, and the model.

        Raises:
          RequestError: NOT_FOUND, if it is not loaded.
        """
        with self._lock:
            loaded = self._current
            if loaded is None or version not in (None, loaded.version):
                what = f"Latest({self.model_name})"
                if version is not None:
                    what = f"Specific({self.model_name}, {version})"
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {what}"
                )
            loaded.users += 1
        try:
            yield loaded.version, loaded.servable
        finally:
            with self._lock:
                loaded.users -= 1
                unused = loaded.retired and not loaded.users
            if unused:
                self._free(loaded)

    def states(self) -> dict[int, VersionState]:
        """Every version seen so far and where it stands."""
        with self._lock:
            return dict(self._states)

    def close(self) -> None:
        """Lets go of the loaded version."""
        with self._polling:
            self._replace(None)

    def _replace(self, loaded: _Loaded | None) -> None:
        with self._lock:
            old, self._current = self._current, loaded
            if loaded is not None:
                self._states[loaded.version] = VersionState(ModelVersionStatus.AVAILABLE)
            if old is None:
                return
            old.retired = True
            self._states[old.version] = VersionState(ModelVersionStatus.UNLOADING)
            unused = not old.users
        if unused:
            self._free(old)

    def _free(self, loaded: _Loaded) -> None:
        loaded.servable.close()
        self._set_state(loaded.version, VersionState(ModelVersionStatus.END))
        _logger.info("%s version %d is unloaded", self.model_name, loaded.version)

    def _set_state(self, version: int, state: VersionState) -> None:
        with self._lock:
            self._states[version] = state
