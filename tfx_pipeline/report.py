"""The page that says what happened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import ml_metadata as mlmd
from tfx.v1.dsl.io import fileio

from tfx_pipeline import plots
from tfx_pipeline.artifacts import GateVerdict, publish, read_json
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day, read_ancestors
from tfx_pipeline.daily.record import DayRecord
from tfx_pipeline.drift import Anomaly, FeatureDrift, anomalies, feature_drift
from tfx_pipeline.evaluation import POOL
from tfx_pipeline.gate.metric_names import FEW_USERS, METRIC_NAMES, is_of_few
from tfx_pipeline.model_run import GATES_FILE, HISTORY_FILE
from tfx_pipeline.plots.gain import gain, quality
from tfx_pipeline.plots.seesaw import MOST_TASKS
from tfx_pipeline.recorded_run import recorded_config
from tfx_pipeline.run_record import ComponentRun, newest_run
from tfx_pipeline.workdir import exclusive
from transforms.problems import InputError, Problem

_DIGITS = {
    "auc": 4,
    "auc_ceiling": 4,
    "gauc": 4,
    "ndcg": 4,
    "mse": 4,
    "accuracy": 4,
    "logloss": 4,
    "normalized_entropy": 4,
    "calibration": 3,
}
"""Keys of a cell that the table of all metrics shows, and their digits."""


@dataclass(frozen=True)
class Outcome:
    """All that the page shows.

    Args:
      config: The run's config.
      counts: `counts.json` of the ingestion.
      history: `keras_models.training.History`, as plain values.
      gates: What `mean_gates` returned.
      verdict: `verdict.json` of the Gate.
      curves: Its `curves.json`.
      drift: The features, the most distant first.
      anomalies: What ExampleValidator found.
      components: Those that ran before the page was written, in order; empty where their times are
        not to be had.
      pushed_version: None when the model was not pushed.
      parent_day: Day of the run whose weights it went on from, if any.
    """

    config: Config
    counts: Mapping[str, Any]
    history: Mapping[str, Any]
    gates: Mapping[str, Any]
    verdict: Mapping[str, Any]
    curves: Mapping[str, Any]
    drift: Sequence[FeatureDrift]
    anomalies: Sequence[Anomaly]
    components: Sequence[ComponentRun]
    pushed_version: str | None
    parent_day: str | None = None


def read_outcome(
    config: Config,
    *,
    ingest_report: str,
    statistics: str,
    before: DayRecord | None,
    anomalies_found: str,
    model_run: str,
    verdict: str,
    components: Sequence[ComponentRun],
    pushed_version: str | None,
) -> Outcome:
    """Reads the artifacts of a run.

    Args:
      config: The run's config.
      ingest_report: Folder of LogExampleGen's report.
      statistics: Folder of StatisticsGen's statistics.
      before: The run of a day that it went on from. Drift is then held against the days that the
        transform graph was fitted on.
      anomalies_found: Folder of ExampleValidator's anomalies.
      model_run: Folder of the Trainer's run.
      verdict: Folder of the Gate's verdict.
      components: Times of the components.
      pushed_version: None when the model was not pushed.

    Raises:
      InputError: for a verdict in another format.
    """
    judged = read_json(verdict, "verdict.json")
    if judged.get("format") != GateVerdict.FORMAT:
        raise InputError(
            [
                Problem(
                    os.path.join(verdict, "verdict.json"),
                    f"format {judged.get('format', 1)}",
                    f"format {GateVerdict.FORMAT}",
                    "Another version of equipoise wrote it: run the config again.",
                )
            ]
        )
    columns = [*config.features.fields, config.scenario.column, *config.tasks]
    return Outcome(
        config=config,
        counts=read_json(ingest_report, "counts.json"),
        history=read_json(model_run, HISTORY_FILE),
        gates=read_json(model_run, GATES_FILE),
        verdict=judged,
        curves=read_json(verdict, "curves.json"),
        drift=feature_drift(
            before.statistics if before else statistics, statistics, list(dict.fromkeys(columns))
        ),
        anomalies=anomalies(anomalies_found),
        components=components,
        pushed_version=pushed_version,
        parent_day=str(before.day) if before else None,
    )


def component_times(metadata_path: str) -> list[ComponentRun]:
    """The components of the newest run that are done, in order.

    Reading must not disturb a run that is under way, so what cannot be read is not there: ML
    Metadata of other runners is no file, and a file may be locked for a moment.

    Args:
      metadata_path: The SQLite file of ML Metadata, if there is one.
    """
    if not os.path.isfile(metadata_path):
        return []
    try:
        run = newest_run(metadata_path)
    except (RuntimeError, mlmd.errors.StatusError):
        return []
    return [component for component in run.values() if component.name != "Report"]


def rewrite(workdir: Path) -> Path:
    """Writes the page of a workdir's newest run again.

    Args:
      workdir: Where the run was.

    Returns:
      The page.

    Raises:
      InputError: where there is no finished run, or one of a version that differs too much.
    """
    metadata_path = str(workdir / "metadata.db")
    run = newest_run(metadata_path) if os.path.isfile(metadata_path) else {}
    if "report" not in getattr(run.get("Report"), "outputs", {}):
        raise InputError(
            [Problem(str(workdir), "no finished run", "the workdir of one, such as runs/NAME")]
        )
    pushed = run["Pusher"].properties["pushed_model"].get("pushed_version")
    job = recorded_config(workdir, str(run["Report"].parameters["config"]))
    before = read_ancestors(run["Parent"].outputs["parent"]).parent if "Parent" in run else None
    outcome = read_outcome(
        on_day(job, str(run["Report"].parameters.get("day", ""))),
        ingest_report=run["LogExampleGen"].outputs["ingest_report"],
        statistics=run["StatisticsGen"].outputs["statistics"],
        before=before,
        anomalies_found=run["ExampleValidator"].outputs["anomalies"],
        model_run=run["Trainer"].outputs["model_run"],
        verdict=run["Gate"].outputs["verdict"],
        components=component_times(metadata_path),
        pushed_version=str(pushed) if pushed else None,
    )
    folder = run["Report"].outputs["report"]
    with exclusive(workdir):
        write_page(outcome, folder)
        publish(folder, str(workdir / "report"))
    return workdir / "report" / "index.html"


def write_page(outcome: Outcome, folder: str) -> None:
    """Writes `index.html`, which needs no other file."""
    with fileio.open(os.path.join(folder, "index.html"), "w") as f:
        f.write(render(outcome))


def render(outcome: Outcome) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfx_pipeline", "templates/pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": _number, "count": _count, "signed": _signed}
    environment.globals |= {"gain": gain, "metric_names": METRIC_NAMES, "quality": quality}
    environment.globals |= {"is_of_few": is_of_few, "FEW_USERS": FEW_USERS}
    verdict, history = outcome.verdict, outcome.history
    cells = verdict["metrics"]
    scenarios = plots.scenario_marks(list(dict.fromkeys(cell["scenario"] for cell in cells)))
    tasks = plots.task_marks(list(outcome.config.tasks))
    judged = {task: {c["scenario"] for c in cells if _judged(c, task)} for task in tasks}
    by_cell = {(cell["task"], cell["scenario"]): cell for cell in cells}
    return environment.get_template("report.html").render(
        outcome=outcome,
        config=outcome.config,
        verdict=verdict,
        model=model_parts(outcome.config),
        tasks=tasks,
        scenarios=scenarios,
        drawn={
            n: m for n, m in scenarios.items() if n == POOL or n in set().union(*judged.values())
        },
        scenarios_apart={name: mark for name, mark in scenarios.items() if name != POOL},
        by_cell=by_cell,
        columns=metric_columns(cells),
        failed={(f["task"], f["scenario"]) for f in verdict["failures"]},
        strength=heat(cells),
        many_tasks=len(tasks) > MOST_TASKS,
        kept=history["epochs"][history["best_epoch"] - 1],
        seesaw=plots.seesaw(cells, scenarios),
        calibration=plots.calibration(outcome.curves, judged, scenarios),
        roc=plots.roc(outcome.curves, judged, scenarios),
        training=plots.training_curves(history["epochs"], history["best_epoch"], tasks),
        table_life=plots.table_life(history["epochs"]),
        gates=plots.gates(outcome.gates),
        drift=plots.drift(outcome.drift),
        times=plots.component_times(outcome.components),
        POOL=POOL,
    )


def model_parts(config: Config) -> list[tuple[str, str]]:
    """What the model is made of, a name and a value each."""
    settings = config.model
    plug_ins = [
        name.replace("_", " ")
        for name in ("missing_values", "behaviour_sequence", "epnet", "ppnet", "lhuc")
        if getattr(settings, name)
    ]
    towers = " × ".join(map(str, settings.tower_units)) or "linear"
    return [
        ("preset", settings.preset or "none"),
        ("backbone", settings.backbone),
        ("plug-ins", ", ".join(plug_ins) or "none"),
        ("head", settings.head),
        ("towers", "none" if settings.backbone_settings.scores else towers),
    ]


def metric_columns(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """The metrics that any cell has: key, heading, and digits."""
    headings = {**METRIC_NAMES, "auc_ceiling": "ceiling"}
    return [
        (name, headings[name], digits)
        for name, digits in _DIGITS.items()
        if any(cell.get(name) is not None for cell in cells)
    ]


def heat(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """How strongly a cell of the heat table is coloured, from -1 (falls) to 1 (gains).

    Changes of AUC are on one scale, changes of a loss, as shares of what it was, on another. The
    largest change of a judged cell is coloured fully, if it is a hundredth or more: cells that are
    too small to judge change most.
    """
    changes: dict[str, dict[tuple[str, str], float]] = {"auc": {}, "loss": {}}
    judged = {"auc": [0.01], "loss": [0.01]}
    for cell in cells:
        if (found := gain(cell)) is None:
            continue
        metric = quality(cell)
        scale = "auc" if metric == "auc" else "loss"
        before = 1.0 if scale == "auc" else cell["change"][metric]["baseline"] or 1.0
        changes[scale][cell["task"], cell["scenario"]] = found.value / before
        if cell["status"] == "judged":
            judged[scale].append(abs(found.value / before))
    return {
        key: max(-1.0, min(1.0, value / max(judged[scale])))
        for scale, of_scale in changes.items()
        for key, value in of_scale.items()
    }


def _judged(cell: Mapping[str, Any], task: str) -> bool:
    return bool(cell["task"] == task and cell["status"] == "judged")


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
