"""Reads logs into examples."""

# TFX reads the annotations of a component function as objects, not as texts: no
# `from __future__ import annotations` here.

import json
import os
from typing import Any

import apache_beam as beam
from tfx import v1 as tfx
from tfx.v1.dsl.components import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.v1.dsl.io import fileio
from tfx.v1.types.standard_artifacts import Examples

from tfx_pipeline.artifacts import (
    FeatureState,
    IngestReport,
    ParentPointer,
    publish,
    write_json,
)
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day, read_ancestors
from tfx_pipeline.inputs import Inputs, find_inputs, fingerprint_inputs, log_schema, splits
from transforms.arrival import check_unchanged, file_marks
from transforms.day_versions import DayVersion, last_columns, record_day
from transforms.days import Splits
from transforms.enrich import load_side_table
from transforms.ingest import Ingest, Plan, partition_count, save_tables
from transforms.ingest_outcome import (
    days_without_rows,
    ingest_counts,
    too_many_rejected,
    unusable,
)
from transforms.log_files import open_file
from transforms.log_schema import LogSchema
from transforms.problems import InputError
from transforms.schema_changes import Change, column_changes, value_changes
from transforms.tally import Tally

__all__ = ["LogExampleGen", "fingerprint_inputs"]

_EPOCH = 719_163  # date(1970, 1, 1).toordinal(): TFX numbers daily spans from there


@tfx.dsl.components.component(use_beam=True)
def LogExampleGen(  # noqa: N802 - components are named like TFX's own
    examples: OutputArtifact[Examples],
    ingest_report: OutputArtifact[IngestReport],
    feature_state: OutputArtifact[FeatureState],
    config: Parameter[str],
    inputs: Parameter[str],
    rejected_dir: Parameter[str],
    days_dir: Parameter[str],
    data_path: Parameter[str] = "",
    day: Parameter[str] = "",
    parent: InputArtifact[ParentPointer] = None,
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Reads, joins, labels, deduplicates, counts and splits logs, in one pass on Beam.

    Args:
      examples: Splits `train`, `valid` if there are such days, and `eval`, gzipped TFRecords of
        tf.Examples.
      ingest_report: `counts.json`, and the rows that cannot be used under `rejected/`.
      feature_state: What later days and the server need to know of these. In the run of a day, as
        of its end for the days that go on from it, and as of the end of the day that it is
        evaluated on for the server.
      config: The sections `data`, `features`, `scenario` and `tasks`, as JSON.
      inputs: `fingerprint_inputs` of the config, so that TFX's cache notices a changed file.
      rejected_dir: Where the rows that cannot be used are left when the run stops.
      days_dir: Where it is kept, from run to run, what was read of each day.
      data_path: Where the logs lie, if not where the config says.
      day: The day that the run is of, YYYY-MM-DD; empty for the config's own days.
      parent: What the day goes on from.
      beam_pipeline: Given by TFX.

    Raises:
      InputError: with every problem that makes the logs unusable.
    """
    del inputs  # it is there for the cache
    sections = json.loads(config)
    if data_path:
        sections["data"]["path"] = data_path
    settings = on_day(
        Config.model_validate({"name": "logs", **sections}),
        day,
        read_ancestors(parent.uri) if parent else None,
    )
    schema = log_schema(settings)
    days = splits(settings)
    found = find_inputs(settings).complete()
    tables = {
        name: load_side_table(schema, name, paths, settings.data.format, open_file)
        for name, paths in found.tables.items()
    }
    logs = (*found.files, *found.outcomes)
    marks = file_marks(found.paths)
    scratch = os.path.join(ingest_report.uri, "scratch")
    plan = Plan(
        files=found.files,
        schema=schema,
        splits=days,
        tables=os.path.join(scratch, "tables"),
        partitions=partition_count({file.path: marks[file.path][0] for file in logs}),
        examples=examples.uri,
        rejected=os.path.join(ingest_report.uri, "rejected"),
        tally=os.path.join(scratch, "tally.json"),
        state=feature_state.uri,
        scratch=os.path.join(scratch, "drafts"),
        outcomes=found.outcomes,
        duplicate_days=settings.data.duplicate_days,
        start=None if settings.data.state is None else str(settings.data.state),
        # The next day begins where this one ends, and is evaluated on before it is known.
        state_split=days.names[-2] if day else None,
    )
    save_tables(tables, plan.tables)
    fileio.makedirs(plan.rejected)
    with beam_pipeline as pipeline:
        pipeline | Ingest(plan)
    with fileio.open(plan.tally) as file:
        tally = Tally.from_json(file.read())
    fileio.rmtree(scratch)
    check_unchanged(marks)

    changes = _schema_changes(tally, found, schema, days, days_dir)
    table_columns = {name: table.columns for name, table in tables.items()}
    # Where a whole file or column is at fault, that rows and days are missing follows.
    problems = unusable(tally, schema, table_columns) or [
        *too_many_rejected(
            tally,
            logs,
            settings.data.max_rejected_fraction,
            f"All rejected rows are in {rejected_dir}.",
        ),
        *days_without_rows(tally, days, settings.data.empty_days == "warn"),
        *(change.problem for change in changes if _policy(settings, change) == "stop"),
    ]
    if problems:
        publish(plan.rejected, rejected_dir)
        raise InputError(problems)
    counts = ingest_counts(tally, found.files, found.outcomes, schema, days)
    if found.outcomes:
        counts["outcomes"]["open_days"] = [str(day) for day in found.open_days]
    counts.setdefault("valid", 0)
    counts["schema_changes"] = [change.to_dict() for change in changes]
    counts["arrived_again"] = _record_days(tally, found, schema, days, days_dir)
    write_json(ingest_report.uri, "counts.json", counts)
    examples.splits = list(days.names)
    examples.span = days.ranges["eval"][1].toordinal() - _EPOCH
    # How many times one of its days arrived again.
    examples.version = sum(day["version"] for day in counts["arrived_again"])
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")


def _policy(settings: Config, change: Change) -> str:
    policy: str = getattr(settings.data.schema_changes, change.kind)
    return policy


def _schema_changes(
    tally: Tally, found: Inputs, schema: LogSchema, days: Splits, days_dir: str
) -> list[Change]:
    """Changes within the log, and since the last day that was read before it."""
    before = last_columns(days_dir, min(days.days))
    return [
        *column_changes(tally.columns, found.files, before),
        *value_changes(tally, schema, days),
    ]


def _record_days(
    tally: Tally, found: Inputs, schema: LogSchema, days: Splits, days_dir: str
) -> list[dict[str, Any]]:
    """Keeps what was read of each day; gives the days that are not as they first were."""
    arrived_again = []
    for day in days.days:
        columns: dict[str, set[str]] = {}
        for file in found.files:
            if file.day in (None, day.toordinal()):
                for column, types in tally.columns.get(file.path, {}).items():
                    columns[column] = columns.get(column, set()) | types
        versions = record_day(
            days_dir,
            day,
            DayVersion(
                content=f"{tally.checksums.get(str(day), 0):016x}",
                rows=tally.of("day").get(str(day), 0),
                labels={
                    task: tally.counts["label_thousandths", str(day), task] / 1000
                    for task in schema.labels
                },
                columns={column: sorted(types) for column, types in columns.items()},
                open=day in found.open_days,
            ),
        )
        if len(versions) > 1:
            now, before = versions[-1], versions[-2]
            arrived_again.append(
                {
                    "day": str(day),
                    "version": len(versions) - 1,
                    "rows": now.rows,
                    "rows_before": before.rows,
                    "labels": now.labels,
                    "labels_before": before.labels,
                }
            )
    return arrived_again
