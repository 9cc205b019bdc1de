"""Keeps what later days go on from."""

import datetime
import hashlib
import os

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, Parameter
from tfx.v1.types.standard_artifacts import (
    ExampleStatistics,
    Model,
    ModelBlessing,
    ModelRun,
    PushedModel,
    TransformGraph,
)

from tfx_pipeline.artifacts import FeatureState, ParentPointer, copy_folder
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day, read_ancestors
from tfx_pipeline.daily.record import DayRecord, day_folder, write_record
from tfx_pipeline.model_run import TRAINED


@tfx.dsl.components.component
def RecordDay(  # noqa: N802 - components are named like TFX's own
    parent: InputArtifact[ParentPointer],
    model: InputArtifact[Model],
    model_run: InputArtifact[ModelRun],
    feature_state: InputArtifact[FeatureState],
    transform_graph: InputArtifact[TransformGraph],
    statistics: InputArtifact[ExampleStatistics],
    blessing: InputArtifact[ModelBlessing],
    pushed_model: InputArtifact[PushedModel],
    daily_dir: Parameter[str],
    day: Parameter[str],
    key: Parameter[str],
    copies: Parameter[int],
    config: Parameter[str],
) -> None:
    """Writes the record of the day, the last thing that its run does.

    Args:
      parent: What the day went on from.
      model: The model.
      model_run: Holds what the training ended with.
      feature_state: As of the end of the day.
      transform_graph: The graph that was applied.
      statistics: Of the rows.
      blessing: What the gate said.
      pushed_model: Which version was pushed, if any.
      daily_dir: Where the records of days are kept.
      day: The day, YYYY-MM-DD.
      key: Names the run, see `DayRecord`; empty where the runner knows none.
      copies: 1 where later days do not find the artifacts where this run has them: then what they
        need is copied to beside the record.
      config: The job's config, as JSON.
    """
    settings = on_day(Config.model_validate_json(config), day)
    date = datetime.date.fromisoformat(day)
    before = read_ancestors(parent.uri).parent
    version = pushed_model.get_string_custom_property("pushed_version")
    uris = {
        "model": model.uri,
        "trained": model_run.uri,
        "feature_state": feature_state.uri,
        "transform_graph": transform_graph.uri,
        "statistics": statistics.uri,
    }
    # A run that is repeated has other artifacts.
    key = key or hashlib.sha256(model.uri.encode()).hexdigest()[:16]
    if copies:
        kept = os.path.join(day_folder(daily_dir, date), key)
        for name, uri in uris.items():
            uris[name] = os.path.join(kept, name)
            copy_folder(uri, uris[name])
    record = DayRecord(
        day=date,
        key=key,
        full=settings.daily.full,
        train=settings.data.train,
        evaluated=settings.data.eval.start,
        blessed=blessing.get_int_custom_property("blessed") == 1,
        version=int(version) if version else None,
        parent=before.key if before else None,
        model=uris["model"],
        trained=os.path.join(uris["trained"], TRAINED),
        feature_state=uris["feature_state"],
        transform_graph=uris["transform_graph"],
        statistics=before.statistics if before else uris["statistics"],
    )
    write_record(daily_dir, record)
