"""The models of a server: which there are, their labels, and which version a request means."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.config.model_server_config_pb2 import (
    TENSORFLOW,
    ModelConfig,
    ModelServerConfig,
)

from serving.model_server.metrics import Metrics
from serving.model_server.request_error import RequestError, invalid
from serving.model_server.servable import Servable
from serving.model_server.served_model import ServedModel, VersionState, servable_not_found

_PLATFORM = "tensorflow"


def single_model(name: str, base_dir: Path) -> ModelServerConfig:
    """The config of a server for the newest version of one model."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=str(base_dir.absolute()), model_platform=_PLATFORM
    )
    return config


class ModelRegistry:
    """Models by their names.

    Args:
      config: A list of models with their folders, version policies and labels.
      metrics: Learns of each load.
      labels_of_unavailable: Whether a label that is new may name a version that is not loaded, as
        with tensorflow_model_server's --allow_version_labels_for_unavailable_models.

    Raises:
      RequestError: if the config is none that TensorFlow Serving takes.
    """

    def __init__(
        self, config: ModelServerConfig, metrics: Metrics, *, labels_of_unavailable: bool = False
    ):
        self._metrics = metrics
        self._labels_of_unavailable = labels_of_unavailable
        # Both are replaced and never changed, so that requests read them without a lock.
        self._models: Mapping[str, ServedModel] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._configuring = threading.Lock()
        self._configure(config)

    def reload(self, config: ModelServerConfig) -> None:
        """Serves another list of models, and loads those that are new.

        Models that are not on the list go. New versions of the others come with the next poll.

        Raises:
          RequestError: if the config is none that TensorFlow Serving takes, or if a new model has
            no version that loads.
        """
        self._refuse_missing_folders(config)
        before = set(self.names())
        self._configure(config)
        for name in before - set(self.names()):
            self._models[name].poll()
        new = [self._models[name] for name in self.names() if name not in before]
        for model in new:
            model.poll()
        failed = [model for model in new if not model.versions()]
        if failed:
            raise RequestError(grpc.StatusCode.UNKNOWN, _not_available(failed))

    def poll(self) -> None:
        """Looks for new versions of every model."""
        for model in self._models.values():
            model.poll()

    @contextlib.contextmanager
    def use(self, spec: ModelSpec) -> Iterator[tuple[int, Servable]]:
        """Holds the version that a request names.

        Yields:
          Its number, and the model.

        Raises:
          RequestError: NOT_FOUND, if it is not loaded; INVALID_ARGUMENT, if no model is named, or a
            label that it does not have.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        if spec.WhichOneof("version_choice") == "version_label":
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        model = self._models.get(spec.name)
        if model is None:
            raise servable_not_found(spec.name, version)
        with model.use(version) as held:
            yield held

    def names(self) -> list[str]:
        """The models that are served, in the order of the config."""
        return list(self._labels)

    def versions(self, name: str) -> list[int]:
        """The loaded versions of a model, ascending."""
        model = self._models.get(name)
        return [] if model is None else model.versions()

    def states(self, name: str) -> dict[int, VersionState]:
        """Every version of a model seen so far and where it stands."""
        model = self._models.get(name)
        return {} if model is None else model.states()

    def close(self) -> None:
        """Lets go of everything."""
        for model in self._models.values():
            model.close()

    def _configure(self, config: ModelServerConfig) -> None:
        with self._configuring:
            listed = {}
            for entry in _listed(config):
                if entry.name in listed:
                    raise invalid(
                        f"Illegal to list model {entry.name} multiple times in config list"
                    )
                _check(entry)
                listed[entry.name] = entry
            labels = {name: self._checked_labels(entry) for name, entry in listed.items()}
            # One that is no longer served stays, for its versions' states.
            models = dict(self._models)
            for name in listed.keys() - models.keys():
                models[name] = ServedModel(name, self._metrics)
            for name, model in models.items():
                if name in listed:
                    policy = listed[name].model_version_policy
                    model.configure(Path(listed[name].base_path), policy)
                else:
                    model.configure(None, None)
            self._models, self._labels = models, labels

    def _checked_labels(self, entry: ModelConfig) -> dict[str, int]:
        available = self.versions(entry.name)
        before = self._labels.get(entry.name, {})
        for label, version in entry.version_labels.items():
            is_new = before.get(label, version) == version
            if version not in available and not (self._labels_of_unavailable and is_new):
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {entry.name}, which is "
                    "not currently available for inference",
                )
        return dict(entry.version_labels)

    def _refuse_missing_folders(self, config: ModelServerConfig) -> None:
        # TensorFlow Serving waits for them, and so does every later call.
        for entry in config.model_config_list.config:
            if entry.name not in self.names() and not os.path.isdir(entry.base_path):
                raise invalid(
                    f"Could not find base path {entry.base_path} for servable {entry.name}"
                )


def _listed(config: ModelServerConfig) -> list[ModelConfig]:
    if config.WhichOneof("config") == "custom_model_config":
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED, "custom_model_config: expected a model_config_list"
        )
    return list(config.model_config_list.config)


def _check(entry: ModelConfig) -> None:
    if entry.model_type and entry.model_platform:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform."
        )
    if not entry.model_type and not entry.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    platform = _PLATFORM if entry.model_type == TENSORFLOW else entry.model_platform
    if platform != _PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
    if not Path(entry.base_path).is_absolute():
        raise invalid(
            f"Expected model {entry.name} to have an absolute path or URI; got "
            f"base_path()={entry.base_path}"
        )
    if entry.HasField("logging_config"):
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"logging_config of model {entry.name}: requests are not logged here",
        )


def _not_available(models: list[ServedModel]) -> str:
    lines = []
    for model in models:
        states = model.states() or {0: VersionState(0)}
        for version, state in states.items():
            why = f" due to error: {state.error_message}" if state.error_message else ""
            lines.append(f"{{{{name: {model.name} version: {version}}}{why}}}, ")
    return f"{len(models)} model(s) did not become available: {{{''.join(lines)}}}"
