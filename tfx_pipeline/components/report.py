"""One page that says what happened."""

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import (
    ExampleAnomalies,
    ExampleStatistics,
    ModelRun,
    PushedModel,
)

from tfx_pipeline.artifacts import (
    GateVerdict,
    HtmlReport,
    IngestReport,
    ParentPointer,
)
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day, read_ancestors
from tfx_pipeline.report import component_times, read_outcome, write_page


@tfx.dsl.components.component
def Report(  # noqa: N802 - components are named like TFX's own
    ingest_report: InputArtifact[IngestReport],
    statistics: InputArtifact[ExampleStatistics],
    anomalies: InputArtifact[ExampleAnomalies],
    model_run: InputArtifact[ModelRun],
    verdict: InputArtifact[GateVerdict],
    pushed_model: InputArtifact[PushedModel],
    report: OutputArtifact[HtmlReport],
    config: Parameter[str],
    metadata_path: Parameter[str],
    day: Parameter[str] = "",
    parent: InputArtifact[ParentPointer] = None,
) -> None:
    """Writes `index.html`: the verdict, every cell's metrics, the model's inside, the data.

    Args:
      ingest_report: Counts of rows.
      statistics: Of the examples, by split.
      anomalies: Likewise.
      model_run: The training's history and the model's mean gates.
      verdict: The Gate's.
      pushed_model: Which version was pushed, if any.
      report: Gets the page, which needs no other file.
      config: The run's config, as JSON.
      metadata_path: SQLite file of ML Metadata, which knows how long components took. Where the
        runner keeps it elsewhere, the page says that their times are not to be had.
      day: The day that the run is of, YYYY-MM-DD; empty for the config's own days.
      parent: What the day goes on from. Drift is then held against the days that the transform
        graph was fitted on.
    """
    outcome = read_outcome(
        on_day(Config.model_validate_json(config), day),
        ingest_report=ingest_report.uri,
        statistics=statistics.uri,
        before=read_ancestors(parent.uri).parent if parent else None,
        anomalies_found=anomalies.uri,
        model_run=model_run.uri,
        verdict=verdict.uri,
        components=component_times(metadata_path),
        pushed_version=pushed_model.get_string_custom_property("pushed_version") or None,
    )
    write_page(outcome, report.uri)
