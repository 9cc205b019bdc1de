"""Logs to examples as one Beam pass.

    files -> blocks -> usable rows, by hash of the event key -> one partition at a time:
    duplicates dropped, outcomes, past-days statistics and histories joined, examples written

Content that cannot be used never raises on a worker: it is tallied, and whoever runs the
pass judges the tally. A failing disk or network does raise, so that the runner tries again.
Every file is written under another name and renamed; a bundle that is run twice writes
the same files.
"""

from __future__ import annotations

import datetime
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.utils.shared import Shared

from transforms.days import Splits
from transforms.dedupe import duplicates, mix
from transforms.earlier_events import (
    by_partition,
    events_of,
    kept_until,
    partition_of,
    repeated,
)
from transforms.enrich import SideTable, text_column
from transforms.examples import encode, feature_table, scenario_names
from transforms.feature_state import read_shard, write_events
from transforms.join_outcomes import JoinOutcomes, by_key
from transforms.log_files import open_file
from transforms.log_rows import label_column, prepare_rows, unmatched_column
from transforms.log_schema import LogSchema
from transforms.outcome_rows import prepare_outcomes
from transforms.past_behaviours import AddHistories
from transforms.past_days import AddPastDays, PastDaysPlan
from transforms.problems import InputError
from transforms.readers import Block, parse_block, read_blocks
from transforms.row_reader import LogFile
from transforms.schema_changes import MOST_VALUES
from transforms.storage import from_ipc, read_file, renamed_into_place, to_ipc, write_file
from transforms.tally import Tally, total

PARTITION_BYTES = 128 << 20
"""Text per partition; a partition is held in memory, a few times over, by one worker."""

_COMPRESSED = (".gz", ".parquet")
_COMPRESSION_RATIO = 5
_COMPRESSION_LEVEL = 1
"""Examples repeat their features' names, so the quickest level already shrinks them tenfold."""

_COLUMNS = b"columns"


@dataclass(frozen=True)
class Plan:
    """All that a pass needs to know.

    Args:
      files: Files of the log.
      schema: What is needed of them.
      splits: Which days are needed.
      tables: Folder with the joined tables, from `save_tables`.
      partitions: Parts that are deduplicated and written each by itself.
      examples: Folder that gets `Split-<name>/data_tfrecord-*.gz`.
      rejected: Folder that gets `*.parquet` with the rows that cannot be used.
      tally: File that gets the tally.
      state: Folder that gets the feature state.
      scratch: Folder for files that are being written.
      start: Folder of the feature state of an earlier day, to go on from.
      outcomes: Files of the outcomes log, numbered on from `files`; the path tells their day.
      duplicate_days: For how many days the state keeps event keys.
      state_split: The split whose last day the state is as of the end of; by default the last one.
    """

    files: tuple[LogFile, ...]
    schema: LogSchema
    splits: Splits
    tables: str
    partitions: int
    examples: str
    rejected: str
    tally: str
    state: str
    scratch: str
    start: str | None = None
    outcomes: tuple[LogFile, ...] = ()
    duplicate_days: int = 0
    state_split: str | None = None

    def past_days(self) -> PastDaysPlan:
        """The part of it that is about statistics."""
        days = sorted(self.splits.days)
        return PastDaysPlan(
            statistics=self.schema.statistics,
            first_day=days[0].toordinal(),
            last_day=days[-1].toordinal(),
            state_day=self.splits.ranges[self.state_split or self.splits.names[-1]][1].toordinal(),
            shards=self.partitions,
            state=self.state,
            scratch=self.scratch,
            start=self.start,
            history=self.schema.history,
            event_key=self.schema.event_key,
            settings=self.schema.past_settings,
        )


def partition_count(sizes: Mapping[str, int]) -> int:
    """Partitions for files of these sizes, as stored."""
    text = sum(
        size * (_COMPRESSION_RATIO if path.endswith(_COMPRESSED) else 1)
        for path, size in sizes.items()
    )
    return max(1, math.ceil(text / PARTITION_BYTES))


def save_tables(tables: Mapping[str, SideTable], folder: str) -> None:
    """Writes joined tables in the form that workers load quickly."""
    tf.io.gfile.makedirs(folder)
    for name, table in tables.items():
        metadata = {_COLUMNS: json.dumps(table.columns)}
        rows = table.rows.replace_schema_metadata(metadata)
        write_file(os.path.join(folder, f"{name}.arrow"), to_ipc(rows))


@beam.typehints.with_input_types(beam.Pipeline)
class Ingest(beam.PTransform):
    """Reads the log and writes examples, rejected rows and the tally."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pass; its result is the tally's path."""
        plan = self.plan
        start = plan.past_days().start_state()
        read = (
            pipeline
            | "Files" >> beam.Create(plan.files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadBlocks" >> beam.ParDo(_ReadBlocks()).with_outputs("tally", main="blocks")
        )
        prepared = (
            read.blocks
            | "SpreadBlocks" >> beam.Reshuffle()
            | "PrepareRows"
            >> beam.ParDo(_PrepareRows(plan)).with_outputs("rejected", "tally", main="rows")
        )
        earlier = (
            pipeline
            | "EarlierEvents" >> beam.Create(start.events() if plan.start else [])
            | "ReadEarlierEvents" >> beam.FlatMap(_read_events, plan.partitions)
        )
        kept = (
            {"rows": _keyed(prepared.rows, "Rows"), "earlier": _keyed(earlier, "Earlier")}
            | "GroupByEventKey" >> beam.CoGroupByKey()
            | "DropDuplicates"
            >> beam.ParDo(_DropDuplicates(plan)).with_outputs("tally", main="rows")
        )
        rows = _keyed(kept.rows, "Kept")
        rejects, tallies = [prepared.rejected], [read.tally, prepared.tally, kept.tally]
        if plan.schema.outcomes is not None:
            labelled = self._label(pipeline, rows)
            rows = _keyed(labelled["rows"], "Labelled")
            rejects += labelled["rejected"]
            tallies += labelled["tallies"]
        complete = rows | "PastDays" >> AddPastDays(plan.past_days())
        if plan.schema.history is not None:
            complete = complete | "Histories" >> AddHistories(plan.past_days())
        written = complete | "WriteExamples" >> beam.ParDo(_WriteExamples(plan))
        rejected = (
            _keyed(rejects | "AllRejected" >> beam.Flatten(), "Rejected")
            | "GroupByFile" >> beam.GroupByKey()
            | "WriteRejected" >> beam.ParDo(_WriteRejected(plan))
        )
        return (
            (*tallies, written, rejected)
            | "Tallies" >> beam.Flatten()
            | "Total" >> beam.CombineGlobally(total)
            | "WriteTally" >> beam.Map(_write_tally, plan)
        )

    def _label(
        self, pipeline: beam.Pipeline, rows: beam.PCollection
    ) -> dict[str, beam.PCollection | list[beam.PCollection]]:
        """Reads the outcomes and labels rows by them."""
        plan = self.plan
        read = (
            pipeline
            | "OutcomeFiles" >> beam.Create(plan.outcomes)
            | "SpreadOutcomeFiles" >> beam.Reshuffle()
            | "ReadOutcomeBlocks" >> beam.ParDo(_ReadBlocks()).with_outputs("tally", main="blocks")
        )
        prepared = (
            read.blocks
            | "SpreadOutcomeBlocks" >> beam.Reshuffle()
            | "PrepareOutcomes"
            >> beam.ParDo(_PrepareOutcomes(plan)).with_outputs("rejected", "tally", main="rows")
        )
        joined = {"rows": rows, "outcomes": _keyed(prepared.rows, "Outcomes")} | JoinOutcomes(
            plan.schema, plan.files, plan.partitions
        )
        return {
            "rows": joined["rows"],
            "rejected": [prepared.rejected, joined["rejected"]],
            "tallies": [read.tally, prepared.tally, joined["tally"]],
        }


def _keyed(pairs: beam.PCollection, name: str) -> beam.PCollection:
    """Declares the type of a side output, so that the pairs get a quick coder."""
    return pairs | f"{name}AsPairs" >> beam.Map(_same).with_output_types(tuple[int, bytes])


def _same(pair: tuple[int, bytes]) -> tuple[int, bytes]:
    return pair


class _ReadBlocks(beam.DoFn):
    def process(self, file: LogFile) -> Iterator[tuple[LogFile, Block] | beam.pvalue.TaggedOutput]:
        try:
            with open_file(file.path) as stream:
                for block in read_blocks(stream, file.path, file.format):
                    yield file, block
        except InputError as error:
            yield beam.pvalue.TaggedOutput("tally", Tally(problems=set(error.problems)))


def _read_events(path: str, partitions: int) -> Iterator[tuple[int, bytes]]:
    for partition, events in by_partition(read_shard(path), partitions):
        yield partition, to_ipc(events)


class _PrepareRows(beam.DoFn):
    def __init__(self, plan: Plan):
        self.plan = plan
        self.shared = Shared()

    def setup(self) -> None:
        self.tables = self.shared.acquire(lambda: _Tables(self.plan))

    def process(
        self, element: tuple[LogFile, Block]
    ) -> Iterator[tuple[int, bytes] | beam.pvalue.TaggedOutput]:
        file, block = element
        plan = self.plan
        try:
            raw = parse_block(block, open_file)
        except InputError as error:
            yield beam.pvalue.TaggedOutput("tally", Tally(problems=set(error.problems)))
            return
        done = prepare_rows(raw, file, plan.schema, plan.splits, self.tables.by_name)
        yield beam.pvalue.TaggedOutput("tally", done.tally)
        if done.rejected.num_rows:
            yield beam.pvalue.TaggedOutput("rejected", (file.index, to_ipc(done.rejected)))
        if done.rows is not None:
            yield from _by_partition(done.rows, plan.partitions)


class _PrepareOutcomes(beam.DoFn):
    def __init__(self, plan: Plan):
        self.plan = plan

    def process(
        self, element: tuple[LogFile, Block]
    ) -> Iterator[tuple[int, bytes] | beam.pvalue.TaggedOutput]:
        file, block = element
        assert self.plan.schema.outcomes is not None
        try:
            raw = parse_block(block, open_file)
        except InputError as error:
            yield beam.pvalue.TaggedOutput("tally", Tally(problems=set(error.problems)))
            return
        rows, rejected, tally = prepare_outcomes(raw, file, self.plan.schema.outcomes)
        yield beam.pvalue.TaggedOutput("tally", tally)
        if rejected.num_rows:
            yield beam.pvalue.TaggedOutput("rejected", (file.index, to_ipc(rejected)))
        if rows is not None:
            for shard, part in by_key(rows, self.plan.partitions):
                yield shard, to_ipc(part)


class _Tables:
    """The joined tables, loaded once a worker process."""

    def __init__(self, plan: Plan):
        self.by_name = {}
        for name in plan.schema.table_keys:
            rows = from_ipc(read_file(os.path.join(plan.tables, f"{name}.arrow")))
            columns = tuple(json.loads(rows.schema.metadata[_COLUMNS]))
            self.by_name[name] = SideTable(rows.combine_chunks(), columns)


def _by_partition(rows: pa.Table, partitions: int) -> Iterator[tuple[int, bytes]]:
    target = partition_of(rows.column("key_hash").to_numpy(), partitions)
    if partitions > 1:
        rows = rows.take(pa.array(np.argsort(target, kind="stable")))
    sizes = np.bincount(target.astype(np.int64), minlength=partitions)
    for partition, (size, end) in enumerate(zip(sizes, np.cumsum(sizes), strict=True)):
        if size:
            yield partition, to_ipc(rows.slice(end - size, size))


class _DropDuplicates(beam.DoFn):
    """Drops the duplicates of a partition, and keeps its event keys for later days."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def process(
        self, element: tuple[int, Mapping[str, Iterable[bytes]]]
    ) -> Iterator[tuple[int, bytes] | beam.pvalue.TaggedOutput]:
        partition, parts = element
        tally = Tally()
        plan = self.plan
        earlier = list(map(from_ipc, parts["earlier"]))
        tables = list(map(from_ipc, parts["rows"]))
        events = list(earlier)
        if tables:
            rows = _without_duplicates(pa.concat_tables(tables), plan.schema, earlier, tally)
            events.append(events_of(rows, plan.schema))
        if plan.duplicate_days:
            kept = kept_until(events, plan.past_days().state_day, plan.duplicate_days)
            name = f"{partition:05d}-of-{plan.partitions:05d}"
            write_events(plan.state, name, kept, plan.scratch)
        if not tables:
            return
        # By hash: shuffled but for rows of one request, and in the same order in every run.
        rows = rows.take(pa.array(np.argsort(rows.column("key_hash").to_numpy(), kind="stable")))
        yield beam.pvalue.TaggedOutput("tally", tally)
        yield partition, to_ipc(rows)


class _WriteExamples(beam.DoFn):
    """Writes a partition's share of every split."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def process(self, element: tuple[int, bytes]) -> Iterator[Tally]:
        partition, data = element
        plan = self.plan
        tally = Tally()
        rows = from_ipc(data)
        _count_kept(rows, plan.schema, tally)
        _count_days(rows, plan.schema, tally)
        splits = plan.splits.of(rows.column("day").to_numpy())
        for i, name in enumerate(plan.splits.names):
            share = rows.filter(pa.array(splits == i))
            _count_values(share, name, plan.schema, tally)
            tally.count("split", name, rows=share.num_rows)
            if share.num_rows:
                file = f"data_tfrecord-{partition:05d}-of-{plan.partitions:05d}.gz"
                path = os.path.join(plan.examples, f"Split-{name}", file)
                with renamed_into_place(path, plan.scratch) as draft:
                    _write_records(feature_table(share, plan.schema), draft)
        yield tally


def _without_duplicates(
    rows: pa.Table, schema: LogSchema, earlier: Sequence[pa.Table], tally: Tally
) -> pa.Table:
    order = np.lexsort((rows.column("row").to_numpy(), rows.column("file").to_numpy()))
    rows = rows.take(pa.array(order)).combine_chunks()
    keys = [rows.column(text_column(c)) for c in schema.event_key]
    equal_row, equal_key = duplicates(keys, rows.column("row_hash").to_numpy())
    tally.count("duplicates", "equal_rows", rows=int(equal_row.sum()))
    tally.count("duplicates", "equal_keys", rows=int(equal_key.sum()))
    rows = rows.filter(pa.array(~(equal_row | equal_key)))
    of_earlier_days = repeated(events_of(rows, schema), earlier)
    tally.count("duplicates", "earlier_days", rows=int(of_earlier_days.sum()))
    return rows.filter(pa.array(~of_earlier_days))


def _count_kept(rows: pa.Table, schema: LogSchema, tally: Tally) -> None:
    for entry in rows.column("day").value_counts().to_pylist():
        day = datetime.date.fromordinal(entry["values"])
        tally.count("day", day.isoformat(), rows=entry["counts"])
    for entry in rows.column(text_column(schema.scenario)).value_counts().to_pylist():
        tally.count("scenario", entry["values"], rows=entry["counts"])
    other = pc.equal(scenario_names(rows, schema), schema.scenarios[-1])
    tally.count("other_scenario", "", rows=pc.sum(other).as_py() or 0)
    for task in schema.labels:
        tally.count("outside", task, rows=rows.column(label_column(task)).null_count)
    for table in schema.table_keys:
        unmatched = rows.column(unmatched_column(table))
        tally.count("unmatched", table, rows=pc.sum(unmatched).as_py() or 0)


def _count_days(rows: pa.Table, schema: LogSchema, tally: Tally) -> None:
    """Counts what a day is recognised by, and the sums of its labels."""
    days = rows.column("day").to_numpy()
    hashes = rows.column("row_hash").to_numpy()
    for task in schema.labels:
        labels = rows.column(label_column(task)).cast(pa.float64()).to_numpy()
        hashes = mix(hashes ^ labels.view(np.uint64))
        for day in np.unique(days).tolist():
            name = datetime.date.fromordinal(day).isoformat()
            # Whole numbers, which add up to the same in any order.
            thousandths = round(1000 * np.nansum(labels[days == day]))
            tally.count("label_thousandths", name, task, rows=thousandths)
    for day in np.unique(days).tolist():
        checksum = int(hashes[days == day].sum())
        tally.add_checksum(datetime.date.fromordinal(day).isoformat(), checksum)


def _count_values(rows: pa.Table, split: str, schema: LogSchema, tally: Tally) -> None:
    """Counts the values of enums in a split."""
    for column in schema.enums:
        counts = rows.column(text_column(column)).value_counts().to_pylist()
        if len(counts) > MOST_VALUES:
            tally.count("no_enum", column, rows=1)
            continue
        for entry in counts:
            if entry["values"] is not None:
                tally.count("value", column, split, entry["values"], rows=entry["counts"])


def _write_records(features: pa.Table, path: str) -> None:
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=_COMPRESSION_LEVEL)
    with tf.io.TFRecordWriter(path, options) as out:
        for record in encode(features):
            out.write(record)


class _WriteRejected(beam.DoFn):
    def __init__(self, plan: Plan):
        self.plan = plan

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Tally]:
        file, parts = element
        rows = pa.concat_tables(map(from_ipc, parts)).sort_by("row")
        path = os.path.join(self.plan.rejected, f"{file:05d}.parquet")
        sink = io.BytesIO()
        pq.write_table(rows, sink)
        with renamed_into_place(path, self.plan.scratch) as draft:
            write_file(draft, sink.getvalue())
        yield Tally()


def _write_tally(tally: Tally, plan: Plan) -> str:
    with renamed_into_place(plan.tally, plan.scratch) as draft:
        write_file(draft, tally.to_json().encode())
    return plan.tally
