"""One page that says what happened."""

import os
from typing import Any

import jinja2
from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.dsl.io import fileio
from tfx.v1.types.standard_artifacts import ModelRun, PushedModel

from tfx_pipeline.artifacts import GateVerdict, HtmlReport, IngestReport, read_json
from tfx_pipeline.config import Config
from tfx_pipeline.plots import table_life, training_curves
from tfx_pipeline.run_fn import HISTORY_FILE


@tfx.dsl.components.component
def Report(  # noqa: N802 - components are named like TFX's own
    ingest_report: InputArtifact[IngestReport],
    model_run: InputArtifact[ModelRun],
    verdict: InputArtifact[GateVerdict],
    pushed_model: InputArtifact[PushedModel],
    report: OutputArtifact[HtmlReport],
    config: Parameter[str],
    code: Parameter[str],
) -> None:
    """Writes `index.html`: the verdict, every cell's metrics, the training, the data.

    Args:
      ingest_report: Counts of rows.
      model_run: The training's history.
      verdict: The Gate's.
      pushed_model: Which version was pushed, if any.
      report: Gets the page, which needs no other file.
      config: The run's config, as JSON.
      code: Part of the cache key.
    """
    del code
    settings = Config.model_validate_json(config)
    page = render(
        settings,
        counts=read_json(ingest_report.uri, "counts.json"),
        history=read_json(model_run.uri, HISTORY_FILE),
        verdict=read_json(verdict.uri, "verdict.json"),
        pushed_version=pushed_model.get_string_custom_property("pushed_version") or None,
    )
    with fileio.open(os.path.join(report.uri, "index.html"), "w") as f:
        f.write(page)


def render(
    config: Config,
    *,
    counts: dict[str, Any],
    history: dict[str, Any],
    verdict: dict[str, Any],
    pushed_version: str | None,
) -> str:
    """The page as HTML.

    Args:
      config: The run's config.
      counts: `counts.json` of the ingestion.
      history: `keras_models.training.History`, as plain values.
      verdict: `verdict.json` of the Gate.
      pushed_version: None when the model was not pushed.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfx_pipeline", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    failed = {(f["task"], f["scenario"]) for f in verdict["failures"]}
    return environment.get_template("report.html").render(
        config=config,
        counts=counts,
        verdict=verdict,
        failed=failed,
        scenarios=list(dict.fromkeys(cell["scenario"] for cell in verdict["metrics"])),
        has_ceiling=any(cell["auc_ceiling"] is not None for cell in verdict["metrics"]),
        has_baseline=any(
            cell.get("loss_baseline", cell["auc_baseline"]) is not None
            for cell in verdict["metrics"]
        ),
        **{
            f"has_{name}": any(name in cell for cell in verdict["metrics"])
            for name in ("mse", "ndcg", "accuracy")
        },
        pushed_version=pushed_version,
        history=history,
        curves=training_curves(history["epochs"], list(config.tasks)),
        kept=history["epochs"][history["best_epoch"] - 1],
        table_life=table_life(history["epochs"]),
    )
