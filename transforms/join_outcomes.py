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
from transforms.log_rows import changes_column, known_column, label_column, read_label
from transforms.log_schema import LogSchema
from transforms.outcome_rows import value_column
from transforms.outcomes import LATE, UNMATCHED, Outcomes, attribute, combine, in_turn
from transforms.row_reader import LogFile, Rejections
from transforms.storage import from_ipc, to_ipc
from transforms.tally import Tally
from transforms.task_labels import Label

_Parts = Iterable[tuple[int, bytes]]


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
            yield from self._of_partitions(found, row, after <= 0, rows, partitions)
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

    def _of_partitions(
        self,
        found: pa.Table,
        row: np.ndarray,
        known: np.ndarray,
        rows: pa.Table,
        partitions: np.ndarray,
    ) -> Iterator[tuple[int, bytes]]:
        """The matched outcomes by the partition of their rows, those of a row in order of time."""
        table = pa.table(
            {
                "position": rows.column("position").take(pa.array(row)),
                "known": known,
                "time": found.column("time"),
                **{
                    value_column(name): found.column(value_column(name))
                    for name in _outcomes(self.schema).names
                },
            }
        )
        order = np.argsort(found.column("time").to_numpy(), kind="stable")
        table, of = table.take(pa.array(order)), partitions[row][order]
        for partition in np.unique(of).tolist():
            yield partition, to_ipc(table.filter(pa.array(of == partition)))


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
        outcomes = _Found(_outcomes(self.schema), [from_ipc(part) for part in parts["found"]])
        reasons = np.full(rows.num_rows, "", object)
        typed = {c: rows.column(c).combine_chunks() for c in rows.column_names}
        known = outcomes.known()
        for target, of in ((label_column, outcomes), (known_column, known)):
            columns = of.columns(rows.num_rows)
            for task, label in self.schema.late_labels.items():
                labels, faults = read_label(label, {**typed, **columns})
                rows = rows.append_column(target(task), labels)
                for at_fault, reason in faults:
                    reasons[at_fault & (reasons == "")] = f"the label of `{task}` {reason}"
        history = self.schema.history
        for task in () if history is None else history.labels:
            if task in self.schema.late_labels:
                changes = known.changes(self.schema.late_labels[task], typed, rows.num_rows)
                rows = rows.append_column(changes_column(task), changes)
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


class _Found:
    """The outcomes of a partition's rows, those of a row in order of time."""

    def __init__(self, outcomes: Outcomes, parts: Sequence[pa.Table]):
        self.outcomes = outcomes
        self.parts = parts
        numbers = {name: [part.column(name) for part in parts] for name in ("position", "time")}
        self.positions = _joined(numbers["position"], np.int64)
        self.times = _joined(numbers["time"], np.float64)
        self.values = {
            name: _joined([part.column(value_column(name)) for part in parts], np.float64)
            for name in outcomes.names
        }

    def known(self) -> _Found:
        """Those that were known when the row's day was over."""
        return _Found(self.outcomes, [part.filter(part.column("known")) for part in self.parts])

    def columns(self, size: int) -> dict[str, pa.Array]:
        """The columns made of them, by `number_column`, each [B]."""
        return {
            number_column(column.name): pa.array(
                combine(self.values[column.name], self.positions, size, column.take)
            )
            for column in self.outcomes.columns
        }

    def changes(self, label: Label, typed: Mapping[str, pa.Array], size: int) -> pa.Array:
        """When a binary label changed, one outcome of each row after the other; lists, [B].

        Before an outcome that lets it be computed it is 0.
        """
        read = {
            name(column): typed[name(column)]
            for expression in label.expressions
            for column in expression.columns
            for name in (text_column, number_column)
            if name(column) in typed
        }
        labels = _binary(label, {**read, **_Found(self.outcomes, []).columns(size)})
        made = {c.name: np.full(size, np.nan) for c in self.outcomes.columns}
        changed = np.zeros(len(self.positions), bool)
        for turn in in_turn(self.positions):
            rows = self.positions[turn]
            for column in self.outcomes.columns:
                combined = np.fmax if column.take == "max" else _sum
                so_far = made[column.name]
                so_far[rows] = combined(so_far[rows], self.values[column.name][turn])
            now = {name: values.take(pa.array(rows)) for name, values in read.items()}
            for name, values in made.items():
                now[number_column(name)] = pa.array(np.nan_to_num(values[rows]))
            after = _binary(label, now)
            changed[turn] = after != labels[rows]
            labels[rows] = after
        positions, times = self.positions[changed], self.times[changed]
        order = np.argsort(positions, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=size))])
        return pa.ListArray.from_arrays(offsets.astype(np.int32), times[order])


def _joined(parts: Sequence[pa.ChunkedArray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(part.to_numpy() for part in parts)]).astype(dtype)


def _sum(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Sums in which a missing value adds nothing."""
    return np.where(np.isnan(values), others, values + np.nan_to_num(others))


def _binary(label: Label, typed: Mapping[str, pa.Array]) -> np.ndarray:
    labels, _ = read_label(label, typed)
    return labels.fill_null(0).to_numpy(zero_copy_only=False).copy()


def _outcomes(schema: LogSchema) -> Outcomes:
    assert schema.outcomes is not None
    return schema.outcomes
