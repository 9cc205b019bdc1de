"""Keeps those versions of a model loaded that its policy asks for."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving import versions
from serving.model_server.freed_memory import give_back
from serving.model_server.metrics import Metrics
from serving.model_server.refusal import refusal
from serving.model_server.request_error import RequestError
from serving.model_server.servable import Servable
from serving.model_server.warmup import warm_up
from serving.warmup import WARMUP_REQUESTS

_LOAD_RETRIES = 5  # As TensorFlow Serving's --max_num_load_retries.

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


@dataclass(frozen=True)
class _Failure:
    content: object
    """What the folder held; see `_content`."""
    text: str
    count: int


class ServedModel:
    """Loads the versions of a base folder that a policy asks for, and lets go of the others.

    New ones are loaded and warmed up before old ones go, and one that goes is freed when the last
    request on it has been answered. A version that does not load leaves the others in place; it is
    tried six times, and again whenever its files have changed.

    Args:
      name: Name under which the model is served.
      metrics: Learns of each load.
    """

    def __init__(self, name: str, metrics: Metrics):
        self.name = name
        self._metrics = metrics
        self._base_dir: Path | None = None
        self._policy: Any = None
        self._loaded: dict[int, _Loaded] = {}
        self._states: dict[int, VersionState] = {}
        self._failures: dict[int, _Failure] = {}
        self._trouble = ""
        self._freed = False
        self._lock = threading.Lock()
        self._polling = threading.Lock()

    def configure(self, base_dir: Path | None, policy: Any) -> None:
        """Says what the next poll loads.

        Args:
          base_dir: Folder of the versions; None for a model that is no longer served.
          policy: A `ServableVersionPolicy`; without a choice it means the newest version.
        """
        with self._lock:
            self._base_dir, self._policy = base_dir, policy

    def poll(self) -> None:
        """Loads what the policy asks for and is not loaded, then lets go of what it does not."""
        with self._polling:
            self._poll()
            # Here and not where the last request on a version ends, which is not to wait for it.
            with self._lock:
                freed, self._freed = self._freed, False
            if freed:
                give_back()

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
            number = max(self._loaded, default=None) if version is None else version
            loaded = None if number is None else self._loaded.get(number)
            if loaded is None:
                raise servable_not_found(self.name, version)
            loaded.users += 1
        try:
            yield loaded.version, loaded.servable
        finally:
            with self._lock:
                loaded.users -= 1
                unused = loaded.retired and not loaded.users
            if unused:
                self._free(loaded)

    def versions(self) -> list[int]:
        """The loaded versions, ascending."""
        with self._lock:
            return sorted(self._loaded)

    def states(self) -> dict[int, VersionState]:
        """Every version seen so far and where it stands."""
        with self._lock:
            return dict(self._states)

    def close(self) -> None:
        """Lets go of everything."""
        self.configure(None, None)
        self.poll()

    def _poll(self) -> None:
        with self._lock:
            base_dir, policy = self._base_dir, self._policy
        found = {} if base_dir is None else self._look(base_dir)
        if found is None:
            self._end_loading([])
            return  # It may come back.
        wanted = _choose(list(found), policy)
        self._failures = {v: n for v, n in self._failures.items() if v in wanted}
        for version in reversed(wanted):
            if version not in self._loaded:
                self._load(version, found[version])
        self._end_loading(wanted)
        if not wanted or not self._loaded.keys().isdisjoint(wanted):
            for version in sorted(self._loaded.keys() - set(wanted)):
                self._retire(version)

    def _look(self, base_dir: Path) -> dict[int, Path] | None:
        """Folders by version; None, and once a message, if the base folder cannot be read."""
        trouble = ""
        try:
            if base_dir.is_dir():
                return versions.folders(base_dir)
            trouble = f"{base_dir}: found no such folder"
            return None
        except OSError as error:
            trouble = f"{base_dir}: found a folder that cannot be read: {error}"
            return None
        finally:
            if trouble and trouble != self._trouble:
                _logger.error("%s: %s; what is loaded stays", self.name, trouble)
            self._trouble = trouble

    def _end_loading(self, wanted: list[int]) -> None:
        """Versions that are no longer asked for are not loaded any more."""
        with self._lock:
            for version, state in self._states.items():
                if state.state == ModelVersionStatus.LOADING and version not in wanted:
                    self._states[version] = replace(state, state=ModelVersionStatus.END)

    def _load(self, version: int, path: Path) -> None:
        content = _content(path)
        before = self._failures.get(version)
        if before is None or before.content != content:
            before = _Failure(content, "" if before is None else before.text, 0)
        if before.count > _LOAD_RETRIES:
            return
        self._set_state(version, VersionState(ModelVersionStatus.LOADING))
        try:
            servable = Servable(str(path))
            try:
                self._warm_up(servable, version, path)
            except BaseException:
                servable.close()
                raise
        except Exception as error:
            self._metrics.load(str(path), "fail")
            self._failed(version, before, error)
            return
        self._metrics.load(str(path), "success")
        with self._lock:
            self._loaded[version] = _Loaded(version, servable)
            self._states[version] = VersionState(ModelVersionStatus.AVAILABLE)
        _logger.info("%s version %d is available", self.name, version)

    def _warm_up(self, servable: Servable, version: int, path: Path) -> None:
        start, status = time.monotonic(), "fail"
        try:
            count = warm_up(servable, version, path, _run)
            status = "OK"
        finally:
            if (path / WARMUP_REQUESTS).is_file():
                self._metrics.warm_up(str(path), status, time.monotonic() - start)
        if count:
            _logger.info("%s version %d: %d warm-up requests", self.name, version, count)

    def _failed(self, version: int, before: _Failure, error: Exception) -> None:
        code, text = refusal(error)
        if text != before.text:
            _logger.error("%s version %d does not load: %s", self.name, version, text)
        failure = self._failures[version] = _Failure(before.content, text, before.count + 1)
        gave_up = failure.count > _LOAD_RETRIES
        state = ModelVersionStatus.END if gave_up else ModelVersionStatus.LOADING
        self._set_state(version, VersionState(state, code.value[0], text))

    def _retire(self, version: int) -> None:
        with self._lock:
            loaded = self._loaded.pop(version)
            loaded.retired = True
            self._states[version] = VersionState(ModelVersionStatus.UNLOADING)
            unused = not loaded.users
        if unused:
            self._free(loaded)

    def _free(self, loaded: _Loaded) -> None:
        loaded.servable.close()
        with self._lock:
            self._freed = True
            # It may be loaded again by now.
            if loaded.version not in self._loaded:
                self._states[loaded.version] = VersionState(ModelVersionStatus.END)
        _logger.info("%s version %d is unloaded", self.name, loaded.version)

    def _set_state(self, version: int, state: VersionState) -> None:
        with self._lock:
            self._states[version] = state


def servable_not_found(model: str, version: int | None) -> RequestError:
    """What TensorFlow Serving says of a model or version that is not loaded."""
    what = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {what}")


def _run(servable: Servable, signature: Any, feeds: Any, fetches: Any) -> Any:
    return servable.run(feeds, fetches)


def _content(folder: Path) -> object:
    """Equal for two looks at a folder between which none of its files came, went or changed."""
    seen = []
    for path, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(path, name))
                seen.append((path, name, status.st_size, status.st_mtime_ns))
    return sorted(seen)


def _choose(found: list[int], policy: Any) -> list[int]:
    """The versions that a policy asks for, ascending."""
    kind = policy.WhichOneof("policy_choice") if policy is not None else None
    if kind == "all":
        return found
    if kind == "specific":
        return [version for version in found if version in policy.specific.versions]
    return found[-max(1, policy.latest.num_versions if policy is not None else 1) :]
