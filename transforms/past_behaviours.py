"""Histories as a part of the Beam pass.

    deduplicated rows, by partition -> their behaviours, by hash of the user -> all behaviours of a
    user in order, the last ones written to the feature state -> back to the partition, joined

A worker holds one partition of the rows, or the behaviours of the users that one hash value falls
to. A user is sorted once, whatever the number of rows, and a row's history is a range of that
order: what is sent back is each behaviour that a partition needs, once, and positions.

A label that waits for outcomes is, for a later row of the same day, what the outcomes before that
row made it; for rows of later days, and in the state, what it was when its day was over.

Behaviours are in the order of day and time, equal ones in that of the event keys' hashes: so
neither the order of the work nor its spread shows in the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.dedupe import key_hashes
from transforms.enrich import number_column, text_column
from transforms.feature_state import read_shard, write_behaviours
from transforms.history import AGE, MISSING, PREFIX, History, windows
from transforms.log_rows import changes_column, known_labels
from transforms.past_days import PastDaysPlan
from transforms.state_format import TIME, USER
from transforms.storage import from_ipc, to_ipc

_START = -1
"""In place of a partition: behaviours that an earlier state starts with."""


class AddHistories(beam.PTransform):
    """Adds the features of the histories to rows, and writes behaviours to the feature state.

    Takes and gives (partition, Arrow bytes), as `AddPastDays` does.
    """

    def __init__(self, plan: PastDaysPlan):
        super().__init__()
        self.plan = plan
        self.start = plan.start_state()

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Builds the part of the pass."""
        plan = self.plan
        part = tuple[int, tuple[int, bytes]]
        started = (
            rows.pipeline
            | "EarlierHistories" >> beam.Create(self.start.behaviours() if plan.start else [])
            | "ReadEarlier" >> beam.FlatMap(_read_start, plan.shards).with_output_types(part)
        )
        found = (
            (rows | "Behaviours" >> beam.ParDo(_Behaviours(plan)).with_output_types(part), started)
            | "BehavioursOfUsers" >> beam.Flatten()
            | "GroupByUser" >> beam.GroupByKey()
            | "Find" >> beam.ParDo(_Find(plan)).with_output_types(tuple[int, tuple[bytes, bytes]])
        )
        return (
            {"rows": rows, "found": found}
            | "GroupByPartition" >> beam.CoGroupByKey()
            | "Join" >> beam.ParDo(_Join(plan)).with_output_types(tuple[int, bytes])
        )


def _read_start(path: str, shards: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    table = read_shard(path)
    for shard, part in _by_user(table, shards):
        yield shard, (_START, to_ipc(table.take(pa.array(part))))


class _Behaviours(beam.DoFn):
    """What later rows need of a partition's rows."""

    def __init__(self, plan: PastDaysPlan):
        self.plan = plan

    def process(self, element: tuple[int, bytes]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        partition, data = element
        rows = from_ipc(data)
        history = _history(self.plan)
        columns = {
            USER: rows.column(text_column(history.user)),
            TIME: rows.column(number_column(history.time)),
            **{f"{PREFIX}{c}": rows.column(text_column(c)) for c in history.texts},
            **{
                f"{PREFIX}{task}": known_labels(rows, task).cast(pa.float32())
                for task in history.labels
            },
            **{
                changes_column(task): rows.column(changes_column(task))
                for task in history.labels
                if changes_column(task) in rows.column_names
            },
            "day": rows.column("day"),
            "key_hash": rows.column("key_hash"),
            "row": pa.array(np.arange(rows.num_rows, dtype=np.int32)),
        }
        table = pa.table(columns)
        for shard, part in _by_user(table, self.plan.shards):
            yield shard, (partition, to_ipc(table.take(pa.array(part))))


class _Find(beam.DoFn):
    """Finds the histories of some users' rows."""

    def __init__(self, plan: PastDaysPlan):
        self.plan = plan

    def process(
        self, element: tuple[int, Iterable[tuple[int, bytes]]]
    ) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
        shard, parts = element
        history = _history(self.plan)
        tables = [_placed(partition, from_ipc(data)) for partition, data in parts]
        # Those of an earlier state have no changes any more.
        table = pa.concat_tables(tables, promote=True).combine_chunks()
        changes = [changes_column(task) for task in history.labels]
        changes = [name for name in changes if name in table.column_names]
        users = _ranks(table.column(USER))
        days, hashes = table.column("day").to_numpy(), table.column("key_hash").to_numpy()
        times = table.column(TIME).to_numpy()
        partitions, rows = table.column("partition").to_numpy(), table.column("row").to_numpy()
        # Those of an earlier state come before all, in the order that they have there.
        is_new = partitions != _START
        in_order = np.where(is_new, times, 0.0)
        order = np.lexsort((hashes, in_order, days, users))
        first, end = windows(users[order], days[order], in_order[order], history.length)

        behaviours = table.select([USER, TIME, *_kept(history)])
        name = f"{shard:05d}-of-{self.plan.shards:05d}"
        for folder, day in self.plan.states:
            # Those of days after the state's are the last of a user: as if they were not there yet.
            known = np.flatnonzero(~is_new[order] | (days[order] <= day))
            end_of_user = np.searchsorted(users[order][known], users[order][known], side="right")
            last = known[end_of_user - np.arange(len(known)) <= history.length]
            kept = behaviours.take(pa.array(order[last]))
            write_behaviours(folder, name, kept, self.plan.scratch)

        by_partition = np.argsort(partitions[order], kind="stable")
        found, starts = np.unique(partitions[order][by_partition], return_index=True)
        behaviours = table.select([TIME, "day", *_kept(history), *changes])
        for partition, own in zip(found, np.split(by_partition, starts[1:]), strict=True):
            if partition == _START:
                continue
            size = (end - first)[own]
            of_row = np.repeat(np.arange(len(own)), size)
            before = order[_ranges(first[own], size)]
            # Where a log's days and times disagree, an earlier day may hold a later time.
            is_before = times[before] < times[order[own]][of_row]
            if not is_before.all():
                before = before[is_before]
                size = np.bincount(of_row[is_before], minlength=len(own))
            needed = np.zeros(table.num_rows, bool)
            needed[before] = True
            positions = (np.cumsum(needed) - 1)[before].astype(np.int32)
            offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int32)
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(positions))
            of_rows = pa.table({"row": rows[order[own]], "behaviours": lists})
            yield int(partition), (to_ipc(behaviours.filter(pa.array(needed))), to_ipc(of_rows))


class _Join(beam.DoFn):
    """Gives every row of a partition its history."""

    def __init__(self, plan: PastDaysPlan):
        self.plan = plan

    def process(self, element: tuple[int, Mapping[str, Iterable]]) -> Iterator[tuple[int, bytes]]:
        partition, parts = element
        (data,) = parts["rows"]
        rows = from_ipc(data)
        history = _history(self.plan)
        tables, numbers, lists = [], [], []
        known = 0
        for behaviours, of_rows in parts["found"]:
            tables.append(from_ipc(behaviours))
            found = from_ipc(of_rows).combine_chunks()
            numbers.append(found.column("row").to_numpy())
            places = found.column("behaviours").combine_chunks()
            moved = pc.add(places.values, pa.scalar(known, pa.int32()))
            lists.append(pa.ListArray.from_arrays(places.offsets, moved))
            known += tables[-1].num_rows
        order = np.argsort(np.concatenate(numbers))
        if len(order) != rows.num_rows:
            raise RuntimeError("histories got lost on the way")
        places = pa.concat_arrays(lists).take(pa.array(order))
        table = pa.concat_tables(tables).combine_chunks()
        values = places.flatten()
        size = np.diff(places.offsets.to_numpy())
        now = np.repeat(rows.column(number_column(history.time)).to_numpy(), size)
        today = np.repeat(rows.column("day").to_numpy(), size)
        for column in history.texts:
            name = f"{PREFIX}{column}"
            texts = table.column(name).cast(pa.binary()).fill_null(MISSING).combine_chunks()
            rows = _with(rows, name, places, texts.dictionary_encode().take(values))
        for task in history.labels:
            name = f"{PREFIX}{task}"
            labels = table.column(name).combine_chunks().take(values)
            if changes_column(task) in table.column_names:
                changes = table.column(changes_column(task)).combine_chunks().take(values)
                same_day = table.column("day").to_numpy()[values.to_numpy()] == today
                labels = _as_of(labels, changes, np.where(same_day, now, np.inf))
            rows = _with(rows, name, places, labels)
        if history.age:
            ages = now - table.column(TIME).to_numpy()[values.to_numpy()]
            rows = _with(rows, AGE, places, pa.array(ages.astype(np.float32)))
        yield partition, to_ipc(rows)


def _as_of(labels: pa.Array, changes: pa.ListArray, times: np.ndarray) -> pa.Array:
    """Binary labels as they were right before a time.

    Args:
      labels: What they are in the end, 0 or 1, [B].
      changes: When each changed, null or empty where it never did, [B].
      times: Float64 [B].
    """
    sizes = pc.list_value_length(changes).fill_null(0).to_numpy(zero_copy_only=False)
    of_label = np.repeat(np.arange(len(labels)), sizes)
    is_later = changes.flatten().to_numpy() >= np.repeat(times, sizes)
    later = np.bincount(of_label[is_later], minlength=len(labels))
    now = np.where(later % 2, 1 - labels.to_numpy(), labels.to_numpy())
    return pa.array(now, labels.type)


def _with(rows: pa.Table, name: str, like: pa.ListArray, values: pa.Array) -> pa.Table:
    """Adds a column of lists as long as those of `like`."""
    return rows.append_column(name, pa.ListArray.from_arrays(like.offsets, values))


def _placed(partition: int, table: pa.Table) -> pa.Table:
    """Behaviours with the partition of their rows and all that decides their order."""
    size = table.num_rows
    columns: dict[str, Any] = {"partition": np.full(size, partition)}
    if partition == _START:
        columns["day"] = np.zeros(size, np.int32)
        columns["key_hash"] = np.arange(size, dtype=np.uint64)
        columns["row"] = np.full(size, -1, np.int32)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table.select(sorted(table.column_names))


def _ranks(column: pa.ChunkedArray) -> np.ndarray:
    """Positions of texts among the distinct ones in order, int64 [R]."""
    encoded = column.combine_chunks().dictionary_encode()
    ranks = np.empty(len(encoded.dictionary), np.int64)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(ranks))
    return ranks[encoded.indices.to_numpy()]


def _ranges(first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The numbers from each first, as many as its size, one after another."""
    ends = np.cumsum(size)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - size), size)


def _by_user(table: pa.Table, shards: int) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of each hash value of users, in the order of the table."""
    users = table.column(USER).combine_chunks()
    target = (key_hashes([users]) % np.uint64(shards)).astype(np.int64)
    order = np.argsort(target, kind="stable")
    found, starts = np.unique(target[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, starts[1:]), strict=True)


def _kept(history: History) -> list[str]:
    return [*history.text_features, *(f"{PREFIX}{task}" for task in history.labels)]


def _history(plan: PastDaysPlan) -> History:
    assert plan.history is not None
    return plan.history
