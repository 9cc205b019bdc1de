"""Puts a blessed model where TensorFlow Serving looks."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import Model, ModelBlessing, PushedModel

from serving.versions import push
from tfx_pipeline.artifacts import serving_dir


@tfx.dsl.components.component
def Pusher(  # noqa: N802 - components are named like TFX's own
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    pushed_model: OutputArtifact[PushedModel],
    push_destination: Parameter[str],
    keep_versions: Parameter[int],
) -> None:
    """Copies the model beside its place and renames it in, if the Gate blessed it.

    TFX's own Pusher copies into the version folder itself and names it by the second,
    so that a reader can see half a model and two pushes in one second are one.

    A candidate that is, byte for byte, the newest pushed version is not pushed again.

    Args:
      model: The candidate.
      blessing: The Gate's verdict.
      pushed_model: Carries `pushed` (0 or 1) and `pushed_version`.
      push_destination: Folder of version folders.
      keep_versions: Newest versions to keep.
    """
    blessed = blessing.get_int_custom_property("blessed") == 1
    pushed_model.set_int_custom_property("pushed", int(blessed))
    if blessed:
        version = push(serving_dir(model.uri), push_destination, keep=keep_versions)
        pushed_model.set_string_custom_property("pushed_version", str(version))
        pushed_model.set_string_custom_property("pushed_destination", push_destination)
