"""Runs the main job on this machine: LocalDagRunner and ML Metadata in SQLite."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from tfx import v1 as tfx

from serving.versions import latest
from tfx_pipeline.artifacts import publish
from tfx_pipeline.components.log_example_gen import fingerprint_inputs
from tfx_pipeline.config import Config
from tfx_pipeline.config.beam import BEAM_COMPONENTS
from tfx_pipeline.daily.record import day_folder
from tfx_pipeline.daily.unit import Unit
from tfx_pipeline.frozen_graph import frozen_graph_problems
from tfx_pipeline.pipeline import METADATA, create_pipeline
from tfx_pipeline.run_record import ComponentRun, newest_run
from tfx_pipeline.runners.beam_problems import beam_problems
from tfx_pipeline.start_state import start_state_problems
from tfx_pipeline.start_weights import start_weights_problems
from tfx_pipeline.summary import build_summary, write_summary
from tfx_pipeline.tf_config import tf_config_problems
from transforms.problems import InputError, Problem


def run(config: Config, *, config_path: str, workdir: Path) -> dict[str, Any]:
    """Runs the pipeline; reuses what earlier runs in the workdir finished.

    Args:
      config: What to run.
      config_path: Where it came from, for the summary.
      workdir: Gets `summary.json`, `report/`, `rejected/` and `serving/`; held by the caller
        (`tfx_pipeline.workdir.exclusive`).

    Returns:
      The summary.

    Raises:
      InputError: for data that cannot be used.
    """
    workdir = workdir.resolve()
    _check(config, workdir)
    found = latest(str(workdir / "serving" / config.model_name))
    pipeline = create_pipeline(
        config,
        workdir=str(workdir),
        input_fingerprint=fingerprint_inputs(config),
        known_version=found[0] if found else 0,
    )
    components = _run(pipeline, workdir)
    summary = build_summary(config_path, config, components)
    write_summary(summary, workdir)
    return summary


def run_day(
    config: Config, *, config_path: str, workdir: Path, day: datetime.date
) -> dict[str, Any]:
    """Runs the pipeline of one day, which goes on from an earlier one or begins a lineage.

    Args:
      config: The job's config.
      config_path: Where it came from, for the summary.
      workdir: As for `run`; `daily/<day>/` also gets the day's record and summary.
      day: The day.

    Returns:
      The summary.

    Raises:
      InputError: for data that cannot be used, or if there is nothing to go on from.
    """
    workdir = workdir.resolve()
    unit = Unit.plan(config, workdir, day)
    _check(unit.settings, workdir)
    pipeline = create_pipeline(
        unit.config,
        workdir=str(workdir),
        input_fingerprint=unit.inputs,
        day=str(day),
        key=unit.key,
        known_days=unit.ancestors.key,
    )
    components = _run(pipeline, workdir)
    summary = build_summary(config_path, unit.settings, components)
    summary["day"] = unit.describe()
    for folder in (Path(day_folder(unit.daily_dir, day)), workdir):
        write_summary(summary, folder)
    return summary


def _check(config: Config, workdir: Path) -> None:
    """Stops before anything starts."""
    if problems := [
        *frozen_graph_problems(config),
        *start_state_problems(config),
        *start_weights_problems(config),
        *beam_problems(config),
        *_out_of_reach(config, workdir),
        *tf_config_problems(config, first=True),
    ]:
        raise InputError(problems)


def _run(pipeline: tfx.dsl.Pipeline, workdir: Path) -> dict[str, ComponentRun]:
    metadata = str(workdir / METADATA)
    pipeline.metadata_connection_config = (
        tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    components = newest_run(metadata)
    publish(components["Report"].outputs["report"], str(workdir / "report"))
    publish(
        os.path.join(components["LogExampleGen"].outputs["ingest_report"], "rejected"),
        str(workdir / "rejected"),
    )
    return components


def _out_of_reach(config: Config, workdir: Path) -> list[Problem]:
    """Workers of Dataflow see no folder of this machine, nor one that it mounts."""
    if all(config.beam.of(component)[0] != "dataflow" for component in BEAM_COMPONENTS):
        return []
    return [
        Problem(
            "beam.runner",
            f"dataflow, and the workdir {workdir}, which its workers do not see",
            "a pipeline whose workdir is a gs:// URI",
            "docs/how-to/beam-on-dataflow.md says how.",
        )
    ]
