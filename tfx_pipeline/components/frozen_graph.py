"""Takes up the transform graph of the day that a run goes on from."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact
from tfx.v1.types.standard_artifacts import TransformGraph

from tfx_pipeline.artifacts import ParentPointer, copy_folder
from tfx_pipeline.daily.ancestors import read_ancestors


@tfx.dsl.components.component
def FrozenGraph(  # noqa: N802 - components are named like TFX's own
    parent: InputArtifact[ParentPointer],
    transform_graph: OutputArtifact[TransformGraph],
) -> None:
    """Copies the parent's transform graph, so that each day's run stands by itself.

    Args:
      parent: What the day goes on from.
      transform_graph: Gets the graph, as it is.
    """
    found = read_ancestors(parent.uri).parent
    assert found is not None, "a day that begins a lineage fits a graph"
    copy_folder(found.transform_graph, transform_graph.uri)
