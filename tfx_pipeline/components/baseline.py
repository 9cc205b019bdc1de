"""Finds the model that a candidate must not fall behind."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import OutputArtifact, Parameter

from serving.versions import latest
from tfx_pipeline.artifacts import BaselinePointer, write_json

_NONE = {"version": None, "path": None}


@tfx.dsl.components.component
def Baseline(  # noqa: N802 - components are named like TFX's own
    baseline: OutputArtifact[BaselinePointer],
    push_destination: Parameter[str],
    known_version: Parameter[int],
) -> None:
    """Points at the newest version in the push destination.

    This is a component of ours and no Resolver, because open-source Kubeflow
    implements none.

    Args:
      baseline: Where the pointer is written.
      push_destination: Folder of version folders.
      known_version: The newest version when the pipeline was built, 0 for none. Only
        there to be part of the cache key: a push in between must not reuse this result.
    """
    del known_version
    found = latest(push_destination)
    pointer = {"version": found[0], "path": str(found[1])} if found else _NONE
    write_json(baseline.uri, "baseline.json", pointer)
