"""Finds the model that a candidate must not fall behind."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter

from serving.versions import latest
from tfx_pipeline.artifacts import (
    BaselinePointer,
    ParentPointer,
    serving_dir,
    write_json,
)
from tfx_pipeline.daily.ancestors import read_ancestors


@tfx.dsl.components.component
def Baseline(  # noqa: N802 - components are named like TFX's own
    baseline: OutputArtifact[BaselinePointer],
    push_destination: Parameter[str],
    known_version: Parameter[int],
    parent: InputArtifact[ParentPointer] = None,
) -> None:
    """Points at the newest version in the push destination, or at the last blessed day.

    In the run of a day it is the last one before that day: the newest version may be of a later
    one, where late rows had days run again, and so may have seen the rows that are evaluated on.

    This is a component of ours and no Resolver, because open-source Kubeflow
    implements none.

    Args:
      baseline: Where the pointer is written.
      push_destination: Folder of version folders.
      known_version: The newest version when the pipeline was built, 0 for none. Only
        there to be part of the cache key: a push in between must not reuse this result.
      parent: What the day goes on from.
    """
    del known_version
    if parent is None:
        found = latest(push_destination)
        version, path = (found[0], str(found[1])) if found else (None, None)
    else:
        last = read_ancestors(parent.uri).baseline
        version, path = (last.version, serving_dir(last.model)) if last else (None, None)
    write_json(baseline.uri, "baseline.json", {"version": version, "path": path})
