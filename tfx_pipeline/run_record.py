"""What ML Metadata knows of the runs in a workdir."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb


@dataclass(frozen=True)
class ComponentRun:
    """One component of a run.

    Args:
      name: The component's id.
      seconds: Wall time between its start and its end.
      cached: Whether an earlier run's outputs were reused.
      outputs: URI of the first artifact of each output, by the output's name.
      properties: Custom properties of these artifacts, likewise.
      parameters: What the component was given besides artifacts.
    """

    name: str
    seconds: float
    cached: bool
    outputs: dict[str, str] = field(default_factory=dict)
    properties: dict[str, dict[str, int | float | str]] = field(default_factory=dict)
    parameters: dict[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run of a pipeline.

    Args:
      number: 1 for the first in its workdir.
      started: When.
      components: Those that ran, in order, by id.
    """

    number: int
    started: datetime.datetime
    components: dict[str, ComponentRun]


def newest_run(metadata_path: str) -> dict[str, ComponentRun]:
    """Reads the run that started last.

    Args:
      metadata_path: The SQLite file of ML Metadata.

    Returns:
      The components that ran, in order, by id; empty if there was no run.
    """
    store, contexts = _open(metadata_path)
    return _components(store, contexts[-1]) if contexts else {}


def all_runs(metadata_path: str) -> list[Run]:
    """Reads every run, the oldest first.

    Args:
      metadata_path: The SQLite file of ML Metadata.
    """
    store, contexts = _open(metadata_path)
    return [
        Run(
            number,
            datetime.datetime.fromtimestamp(context.create_time_since_epoch / 1000),
            _components(store, context),
        )
        for number, context in enumerate(contexts, 1)
    ]


def _open(metadata_path: str) -> tuple[mlmd.MetadataStore, list[pb.Context]]:
    connection = pb.ConnectionConfig()
    connection.sqlite.filename_uri = metadata_path
    connection.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(connection)
    runs = store.get_contexts_by_type("pipeline_run")
    return store, sorted(runs, key=lambda context: context.create_time_since_epoch)


def _components(store: mlmd.MetadataStore, run: pb.Context) -> dict[str, ComponentRun]:
    executions = sorted(store.get_executions_by_context(run.id), key=lambda e: e.id)
    node_type = store.get_context_type("node").id
    return {
        component.name: component for component in (_read(store, e, node_type) for e in executions)
    }


def _read(store: mlmd.MetadataStore, execution: pb.Execution, node_type: int) -> ComponentRun:
    # A node's context is named `<pipeline>.<node id>`.
    name = next(
        context.name.rpartition(".")[2]
        for context in store.get_contexts_by_execution(execution.id)
        if context.type_id == node_type
    )
    events = [
        e for e in store.get_events_by_execution_ids([execution.id]) if e.type == pb.Event.OUTPUT
    ]
    artifacts = {
        a.id: a for a in store.get_artifacts_by_id([event.artifact_id for event in events])
    }
    outputs: dict[str, str] = {}
    properties: dict[str, dict[str, int | float | str]] = {}
    for event in events:
        key = next((step.key for step in event.path.steps if step.HasField("key")), "")
        artifact = artifacts[event.artifact_id]
        outputs.setdefault(key, artifact.uri)
        properties.setdefault(key, _plain(artifact.custom_properties))
    span = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return ComponentRun(
        name=name,
        seconds=span / 1000,
        cached=execution.last_known_state == pb.Execution.CACHED,
        outputs=outputs,
        properties=properties,
        parameters=_plain(execution.custom_properties),
    )


def _plain(values: Mapping[str, pb.Value]) -> dict[str, int | float | str]:
    return {name: getattr(value, value.WhichOneof("value")) for name, value in values.items()}
