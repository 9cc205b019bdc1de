"""Outcomes as a part of the Beam pass.

    outcomes, by hash of their key;  deduplicated rows, by partition -> their keys and times, by
    hash of the key -> outcomes attributed -> back to the partition: columns added, labels read

A worker holds one partition of the rows, or the keys and outcomes that one hash value falls to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.cells import show_rows
from transforms.dedupe import key_hashes
from transforms.enrich import number_column, text_column
from transforms.log_rows import known_column, label_column, read_label
from transforms.log_schema import LogSchema
from transforms.outcome_rows import value_column
from transforms.outcomes import LATE, UNMATCHED, Outcomes, attribute, combine
from transforms.row_reader import LogFile, Rejections
from transforms.storage import from_ipc, to_ipc
from transforms.tally import Tally

_Parts = Iterable[tuple[int, bytes]]


def known_value_column(name: str) -> str:
    """Name, among what is sent back, of a column as it was known when the row's day was over."""
    return f"known:{name}"


def by_key(rows: pa.Table, shards: int) -> Iterator[tuple[int, pa.Table]]:
    """Rows by the hash of their key.

    Args:
      rows: With the column `key`, [B].
      shards: Number of hash values.
    """
    target = rows.column("key").to_numpy() % np.uint64(shards)
    for shard in np.unique(target).tolist():
        yield shard, rows.filter(pa.array(target == shard))


class JoinOutcomes(beam.PTransform):
    """Adds the labels that wait for outcomes to rows.

    Takes `rows`, (partition, Arrow bytes), deduplicated, and `outcomes`, (shard, Arrow bytes) from
    `by_key`. Gives the same partitions as `rows`; rows that cannot be labelled as `rejected`,
    (file, Arrow bytes); and `tally`.

    Args:
      schema: What is needed of the rows.
      files: Files of the log.
      shards: Parts that the keys are joined in.
    """

    def __init__(self, schema: LogSchema, files: Sequence[LogFile], shards: int):
        super().__init__()
        self.schema = schema
        self.files = tuple(files)
        self.shards = shards

    def expand(self, inputs: Mapping[str, beam.PCollection]) -> Mapping[str, beam.PCollection]:
        """Builds the part of the pass."""
        part = tuple[int, tuple[int, bytes]]
        keys = inputs["rows"] | "Keys" >> beam.ParDo(
            _Keys(self.schema, self.shards)
        ).with_output_types(part)
        attributed = (
            {"keys": keys, "outcomes": inputs["outcomes"]}
            | "GroupByKey" >> beam.CoGroupByKey()
            | "Attribute" >> beam.ParDo(_Attribute(self.schema)).with_outputs("tally", main="found")
        )
        labelled = (
            {"rows": inputs["rows"], "found": attributed.found}
            | "GroupByPartition" >> beam.CoGroupByKey()
            | "Label"
            >> beam.ParDo(_Label(self.schema, self.files)).with_outputs(
                "rejected", "tally", main="rows"
            )
        )
        tallies = (attributed.tally, labelled.tally) | "Tallies" >> beam.Flatten()
        return {"rows": labelled.rows, "rejected": labelled.rejected, "tally": tallies}


class _Keys(beam.DoFn):
    """Keys, times and days of a partition's rows."""

    def __init__(self, schema: LogSchema, shards: int):
        self.schema = schema
        self.shards = shards

    def process(self, element: tuple[int, bytes]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        partition, data = element
        rows = from_ipc(data)
        outcomes = _outcomes(self.schema)
        keys = [rows.column(text_column(c)).combine_chunks() for c in outcomes.key]
        table = pa.table(
            {
                "key": key_hashes(keys),
                "order": rows.column("key_hash"),
                "time": rows.column(number_column(self.schema.event_time)),
                "day": rows.column("day"),
                "position": np.arange(rows.num_rows, dtype=np.int32),
            }
        )
        for shard, part in by_key(table, self.shards):
            yield shard, (partition, to_ipc(part))


class _Attribute(beam.DoFn):
    """Finds the outcomes of some keys' rows."""

    def __init__(self, schema: LogSchema):
        self.schema = schema

    def process(
        self, element: tuple[int, Mapping[str, Iterable]]
    ) -> Iterator[tuple[int, bytes] | beam.pvalue.TaggedOutput]:
        _, parts = element
        tally = Tally()
        settings = _outcomes(self.schema)
        found = self._outcomes(parts["outcomes"], tally)
        rows, partitions = _in_order(parts["keys"])
        if found is not None:
            row = attribute(
                rows.column("key").to_numpy(),
                rows.column("time").to_numpy(),
                found.column("key").to_numpy(),
                found.column("time").to_numpy(),
                settings.window,
                settings.skew,
            )
            tally.count("outcomes", "unmatched", rows=int((row == UNMATCHED).sum()))
            tally.count("outcomes", "late", rows=int((row == LATE).sum()))
            tally.count("outcomes", "matched", rows=int((row >= 0).sum()))
            found = found.filter(pa.array(row >= 0))
            row = row[row >= 0]
            after = found.column("arrived").to_numpy() - rows.column("day").to_numpy()[row]
            for days, count in zip(*np.unique(after, return_counts=True), strict=True):
                tally.count("outcome_delay", str(days), rows=int(count))
            yield from self._values(found, row, after <= 0, rows, partitions)
        yield beam.pvalue.TaggedOutput("tally", tally)

    def _outcomes(self, parts: Iterable[bytes], tally: Tally) -> pa.Table | None:
        """The distinct outcomes in a fixed order; the first by file and row stays."""
        tables = [from_ipc(data) for data in parts]
        if not tables:
            return None
        table = pa.concat_tables(tables).combine_chunks()
        order = np.lexsort((table.column("row").to_numpy(), table.column("file").to_numpy()))
        table = table.take(pa.array(order))
        _, first = np.unique(table.column("event").to_numpy(), return_index=True)
        tally.count("outcomes", "duplicates", rows=table.num_rows - len(first))
        return table.take(pa.array(np.sort(first)))

    def _values(
        self,
        found: pa.Table,
        row: np.ndarray,
        known: np.ndarray,
        rows: pa.Table,
        partitions: np.ndarray,
    ) -> Iterator[tuple[int, bytes]]:
        """What the matched outcomes make of their rows, by partition."""
        matched, positions = np.unique(row, return_inverse=True)
        columns = {"position": rows.column("position").take(pa.array(matched))}
        for column in _outcomes(self.schema).columns:
            values = found.column(value_column(column.name)).to_numpy()
            size = len(matched)
            columns[value_column(column.name)] = combine(values, positions, size, column.take)
            columns[known_value_column(column.name)] = combine(
                values[known], positions[known], size, column.take
            )
        table = pa.table(columns)
        for partition in np.unique(partitions[matched]).tolist():
            yield partition, to_ipc(table.filter(pa.array(partitions[matched] == partition)))


def _in_order(parts: _Parts) -> tuple[pa.Table, np.ndarray]:
    """Keys of rows in an order that does not depend on the spread of the work; their partitions."""
    tables = [(partition, from_ipc(data)) for partition, data in parts]
    empty = pa.table(
        {
            "key": np.zeros(0, np.uint64),
            "order": np.zeros(0, np.uint64),
            "time": np.zeros(0),
            "day": np.zeros(0, np.int32),
            "position": np.zeros(0, np.int32),
        }
    )
    partitions = np.repeat([p for p, _ in tables], [t.num_rows for _, t in tables]).astype(np.int64)
    table = pa.concat_tables([t for _, t in tables] or [empty]).combine_chunks()
    order = np.argsort(table.column("order").to_numpy(), kind="stable")
    return table.take(pa.array(order)), partitions[order]


class _Label(beam.DoFn):
    """Adds the labels to a partition's rows."""

    def __init__(self, schema: LogSchema, files: Sequence[LogFile]):
        self.schema = schema
        self.files = files

    def process(
        self, element: tuple[int, Mapping[str, Iterable]]
    ) -> Iterator[tuple[int, bytes] | beam.pvalue.TaggedOutput]:
        partition, parts = element
        (data,) = parts["rows"]
        rows = from_ipc(data)
        found = [from_ipc(part) for part in parts["found"]]
        reasons = np.full(rows.num_rows, "", object)
        # The last pass leaves what was known when the day was over.
        for name, target in ((value_column, label_column), (known_value_column, known_column)):
            typed = {c: rows.column(c).combine_chunks() for c in rows.column_names}
            for column in _outcomes(self.schema).names:
                values = np.zeros(rows.num_rows)
                for table in found:
                    values[table.column("position").to_numpy()] = table.column(name(column))
                typed[number_column(column)] = pa.array(values)
            for task, label in self.schema.late_labels.items():
                labels, faults = read_label(label, typed)
                rows = rows.append_column(target(task), labels)
                for at_fault, reason in faults:
                    reasons[at_fault & (reasons == "")] = f"the label of `{task}` {reason}"
        tally = Tally()
        good = reasons == ""
        if not good.all():
            yield from self._rejected(rows.filter(pa.array(~good)), reasons[~good], tally)
        yield beam.pvalue.TaggedOutput("tally", tally)
        yield partition, to_ipc(rows.filter(pa.array(good)))

    def _rejected(
        self, rows: pa.Table, reasons: np.ndarray, tally: Tally
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        """Rows as they are by now, for the line that they were is no longer there."""
        texts = show_rows(rows.drop(["key_hash", "row_hash"]))
        for index in np.unique(rows.column("file").to_numpy()).tolist():
            rejections = Rejections(self.files[index], tally)
            for i in np.flatnonzero(rows.column("file").to_numpy() == index):
                rejections.add(rows.column("row")[i].as_py(), reasons[i], texts[i])
            yield beam.pvalue.TaggedOutput("rejected", (index, to_ipc(rejections.table())))


def _outcomes(schema: LogSchema) -> Outcomes:
    assert schema.outcomes is not None
    return schema.outcomes
