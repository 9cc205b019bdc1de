"""Puts a blessed model where TensorFlow Serving looks."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import Model, ModelBlessing, PushedModel, TransformGraph

from serving.versions import push
from tfx_pipeline.artifacts import (
    GateVerdict,
    IngestReport,
    ModelCheckResult,
    read_json,
    serving_dir,
)
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day
from tfx_pipeline.model_card import card_files, model_card


@tfx.dsl.components.component
def Pusher(  # noqa: N802 - components are named like TFX's own
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    verdict: InputArtifact[GateVerdict],
    model_check: InputArtifact[ModelCheckResult],
    ingest_report: InputArtifact[IngestReport],
    transform_graph: InputArtifact[TransformGraph],
    pushed_model: OutputArtifact[PushedModel],
    push_destination: Parameter[str],
    config: Parameter[str],
    day: Parameter[str] = "",
) -> None:
    """Copies the model beside its place and renames it in, if the Gate blessed it.

    TFX's own Pusher copies into the version folder itself and names it by the second,
    so that a reader can see half a model and two pushes in one second are one.

    A candidate that is, byte for byte, the newest pushed version is not pushed again. Each version
    holds a card of what is known of it, `assets.extra/model_card.json` and `.md`.

    Args:
      model: The candidate.
      blessing: The Gate's verdict.
      verdict: For the card: the metrics.
      model_check: For the card: what serving costs.
      ingest_report: For the card: the rows.
      transform_graph: For the card: its hash.
      pushed_model: Carries `pushed` (0 or 1) and `pushed_version`.
      push_destination: Folder of version folders.
      config: The run's config, as JSON; of it `serving.keep_versions`, and all for the card.
      day: The day that the run is of, for the card.
    """
    blessed = blessing.get_int_custom_property("blessed") == 1
    pushed_model.set_int_custom_property("pushed", int(blessed))
    if not blessed:
        return
    settings = on_day(Config.model_validate_json(config), day)
    folder = serving_dir(model.uri)
    known = {
        "counts": read_json(ingest_report.uri, "counts.json"),
        "verdict": read_json(verdict.uri, "verdict.json"),
        "check": read_json(model_check.uri, "model_check.json"),
    }

    def describe(version: int) -> dict[str, str]:
        return card_files(
            model_card(
                version, settings, model_dir=folder, transform_graph=transform_graph.uri, **known
            )
        )

    version = push(folder, push_destination, settings.serving.keep_versions, describe)
    pushed_model.set_string_custom_property("pushed_version", str(version))
    pushed_model.set_string_custom_property("pushed_destination", push_destination)
