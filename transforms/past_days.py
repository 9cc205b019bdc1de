"""Past-days statistics as a part of the Beam pass.

    deduplicated rows, by partition -> rows per key and day -> by hash of the key: summed over
    earlier days, the last sums written to the feature state -> back to the partition, joined

No worker holds more than one partition of the rows, or the keys of one statistic that one hash
value falls to. Sums are of whole numbers and fade by fixed steps, so neither the order of the
work nor its spread shows in the results.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from transforms.enrich import text_column
from transforms.feature_state import FeatureState, read_shard, read_state, write_manifest
from transforms.feature_state import write_shard as write_state_shard
from transforms.history import History
from transforms.keys import categorical_keys, joint_keys
from transforms.log_rows import known_labels
from transforms.state_format import SERVED
from transforms.statistics import Statistic, past_sums
from transforms.storage import from_ipc, to_ipc

_START = -1
"""In place of a partition: the sums that an earlier state starts with."""


@dataclass(frozen=True)
class PastDaysPlan:
    """What to compute over which days, and where to leave it.

    Args:
      statistics: The statistics.
      first_day: Ordinal of the first day that rows are of.
      last_day: Of the last.
      state_day: Of the day that the feature state is as of the end of; later rows are not in it,
        but in the one that is served.
      shards: Parts that the keys of a statistic are summed in.
      state: Folder that gets the feature state.
      scratch: Folder for files that are being written.
      start: Folder of the feature state of an earlier day, to count on from.
      history: What is kept of users' behaviours; see `past_behaviours`.
      event_key: Columns of the event keys that are kept.
      settings: What the labels and times of past days are, see `LogSchema.past_settings`.
    """

    statistics: tuple[Statistic, ...]
    first_day: int
    last_day: int
    state_day: int
    shards: int
    state: str
    scratch: str
    start: str | None = None
    history: History | None = None
    event_key: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def states(self) -> list[tuple[str, int]]:
        """Folders of the states to write, and the day that each is as of the end of."""
        if self.state_day == self.last_day:
            return [(self.state, self.last_day)]
        served = os.path.join(self.state, SERVED)
        return [(self.state, self.state_day), (served, self.last_day)]

    def start_state(self) -> FeatureState:
        """The state to count on from; an empty one where there is none.

        Raises:
          ValueError: if it is of other statistics, histories, event keys, labels or units, or not
            of an earlier day.
        """
        if self.start is None:
            zeros = tuple(np.zeros(1 + len(s.of)) for s in self.statistics)
            return FeatureState(
                "",
                self.first_day - 1,
                self.statistics,
                zeros,
                self.history,
                self.event_key,
                self.settings,
            )
        start = read_state(self.start)
        if start.statistics != self.statistics:
            raise ValueError(
                f"{self.start}: found the statistics {start.statistics}; expected {self.statistics}"
            )
        if start.history != self.history:
            raise ValueError(
                f"{self.start}: found the histories {start.history}; expected {self.history}"
            )
        if start.event_key != self.event_key:
            raise ValueError(
                f"{self.start}: found the event key {start.event_key}; expected {self.event_key}"
            )
        if start.settings != json.loads(json.dumps(self.settings)):
            raise ValueError(
                f"{self.start}: found labels and times {start.settings}; expected {self.settings}"
            )
        if start.last_day >= self.first_day:
            raise ValueError(
                f"{self.start}: found the state of day {start.last_day}; expected one before day "
                f"{self.first_day}, the first of the rows"
            )
        return start


class AddPastDays(beam.PTransform):
    """Adds the features of every statistic to rows, and writes the feature state.

    Takes and gives (partition, Arrow bytes): each partition once, its rows deduplicated and in the
    same order after as before.
    """

    def __init__(self, plan: PastDaysPlan):
        super().__init__()
        self.plan = plan
        self.start = plan.start_state()

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Builds the part of the pass."""
        totals, joined = self._join(rows) if self.plan.statistics else ({}, rows)
        _ = (
            rows.pipeline
            | "Once" >> beam.Create([self.plan])
            | "WriteState" >> beam.Map(_write_manifest, self.start, totals)
        )
        return joined

    def _join(self, rows: beam.PCollection) -> tuple[beam.pvalue.AsDict, beam.PCollection]:
        """Sums of every day over all rows, and the rows with their features."""
        counted = rows | "CountByKey" >> beam.ParDo(_Count(self.plan)).with_outputs(
            "days", main="keys"
        )
        totals = beam.pvalue.AsDict(
            _typed(counted.days, "Days", tuple[int, tuple[int, ...]])
            | "SumDays" >> beam.CombinePerKey(_sum_columns)
        )
        shards = [
            (index, path)
            for index, statistic in enumerate(self.start.statistics)
            for path in (self.start.shards(statistic) if self.plan.start else [])
        ]
        started = (
            rows.pipeline
            | "EarlierState" >> beam.Create(shards)
            | "ReadEarlierState" >> beam.FlatMap(_read_start, self.plan.shards)
        )
        part = tuple[int, tuple[int, bytes]]
        sums = (
            (_typed(counted.keys, "Counts", part), _typed(started, "Earlier", part))
            | "DaysOfKeys" >> beam.Flatten()
            | "GroupByKey" >> beam.GroupByKey()
            | "SumDaysOfKeys" >> beam.ParDo(_Sum(self.plan, self.start))
        )
        joined = (
            {"rows": rows, "sums": _typed(sums, "Sums", part)}
            | "GroupByPartition" >> beam.CoGroupByKey()
            | "Join" >> beam.ParDo(_Join(self.plan, self.start), totals)
        )
        return totals, _typed(joined, "Joined", tuple[int, bytes])


def _typed(pairs: beam.PCollection, name: str, kind: Any) -> beam.PCollection:
    """Declares the type of pairs, so that they get a quick coder."""
    return pairs | f"{name}AsPairs" >> beam.Map(_same).with_output_types(kind)


def _same(pair: tuple) -> tuple:
    return pair


def _read_start(file: tuple[int, str], shards: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    index, path = file
    for shard, part in _by_key(read_shard(path), shards):
        yield index * shards + shard, (_START, to_ipc(part))


def _write_manifest(
    plan: PastDaysPlan, start: FeatureState, totals: Mapping[int, tuple[int, ...]]
) -> None:
    sums = [_day_totals(plan, start, i, totals)[1:] for i in range(len(plan.statistics))]
    for folder, day in plan.states:
        last = [after if day == plan.state_day else end for after, end in sums]
        write_manifest(
            folder,
            day,
            plan.statistics,
            last,
            plan.history,
            plan.scratch,
            plan.event_key,
            plan.settings,
        )


def row_keys(rows: pa.Table, statistics: Sequence[Statistic]) -> list[np.ndarray]:
    """Keys of rows; a missing value is a value.

    Args:
      rows: From `prepare_rows`, [B].
      statistics: What the keys are for.

    Returns:
      For every statistic int64 [B], as `joint_keys` of `categorical_keys` gives for a request.
    """
    columns = {}
    for column in {column for statistic in statistics for column in statistic.by}:
        cells = rows.column(text_column(column)).combine_chunks().dictionary_encode()
        values = [text.encode() for text in cells.dictionary.to_pylist()]
        # The last entry is that of a missing cell.
        present = tf.constant([[True]] * len(values) + [[False]])
        distinct = categorical_keys([column], tf.constant([[v] for v in [*values, b""]]), present)
        positions = cells.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        columns[column] = distinct.numpy()[positions, 0]
    return [
        joint_keys(tf.constant(np.stack([columns[column] for column in s.by], axis=1))).numpy()
        for s in statistics
    ]


class _Count(beam.DoFn):
    """Counts a partition's rows and positives by key and day, and by day."""

    def __init__(self, plan: PastDaysPlan):
        self.plan = plan

    def process(
        self, element: tuple[int, bytes]
    ) -> Iterator[tuple[int, tuple[int, bytes]] | beam.pvalue.TaggedOutput]:
        partition, data = element
        rows = from_ipc(data)
        shards = self.plan.shards
        statistics = self.plan.statistics
        for index, keys in enumerate(row_keys(rows, statistics)):
            counts = _counts(rows, statistics[index].of)
            counts.insert(0, "key", keys)
            by_key = counts.groupby(["key", "day"], as_index=False).sum()
            table = pa.Table.from_pandas(by_key, preserve_index=False)
            for shard, part in _by_key(table, shards):
                yield index * shards + shard, (partition, to_ipc(part))
        by_day = _counts(rows, _tasks(statistics)).groupby("day").sum()
        for day, *sums in by_day.itertuples(name=None):
            yield beam.pvalue.TaggedOutput("days", (day, tuple(sums)))


class _Sum(beam.DoFn):
    """Sums the days of some keys of one statistic."""

    def __init__(self, plan: PastDaysPlan, start: FeatureState):
        self.plan = plan
        self.start = start

    def process(
        self, element: tuple[int, Iterable[tuple[int, bytes]]]
    ) -> Iterator[tuple[int, tuple[int, bytes]]]:
        plan = self.plan
        index, shard = divmod(element[0], plan.shards)
        statistic = plan.statistics[index]
        started: list[tuple[int, pa.Table]] = []
        counted: list[tuple[int, pa.Table]] = []
        for partition, data in element[1]:
            table = from_ipc(data)
            (started if partition == _START else counted).append((partition, table))
        keys = [table.column("key").to_numpy() for _, table in started + counted]
        distinct, positions = np.unique(np.concatenate(keys), return_inverse=True)
        known = sum(table.num_rows for _, table in started)
        columns = _columns(statistic.of)
        start = np.zeros((len(distinct), len(columns)))
        if started:
            start[positions[:known]] = _matrix(started, columns)
        days = [table.column("day").to_numpy() for _, table in counted]
        before, after, end = past_sums(
            positions[known:],
            np.concatenate([np.zeros(0, np.int64), *days]),
            _matrix(counted, columns) if counted else np.zeros((0, len(columns))),
            start,
            self.start.last_day,
            plan.last_day,
            plan.state_day,
            statistic.half_life_days,
        )
        name = f"{shard:05d}-of-{plan.shards:05d}"
        for folder, day in plan.states:
            sums = after if day == plan.state_day else end
            state = pa.table({"key": distinct, **dict(zip(columns, sums.T, strict=True))})
            # What is first seen after the state's day is not known yet.
            state = state.filter(pa.array(sums[:, 0] > 0))
            write_state_shard(folder, index, name, state, plan.scratch)
        first = 0
        for partition, table in counted:
            own = before[first : first + table.num_rows]
            first += table.num_rows
            joined = table.select(["key", "day"])
            for column, values in zip(columns, own.T, strict=True):
                joined = joined.append_column(column, pa.array(values))
            yield partition, (index, to_ipc(joined))


class _Join(beam.DoFn):
    """Gives every row of a partition what was so of its keys before its day."""

    def __init__(self, plan: PastDaysPlan, start: FeatureState):
        self.plan = plan
        self.start = start

    def process(
        self,
        element: tuple[int, Mapping[str, Iterable]],
        totals: Mapping[int, tuple[int, ...]],
    ) -> Iterator[tuple[int, bytes]]:
        partition, parts = element
        (data,) = parts["rows"]
        rows = from_ipc(data)
        by_statistic: dict[int, list[pd.DataFrame]] = {}
        for index, sums in parts["sums"]:
            by_statistic.setdefault(index, []).append(from_ipc(sums).to_pandas())
        days = rows.column("day").to_numpy()
        statistics = self.plan.statistics
        for index, keys in enumerate(row_keys(rows, statistics)):
            statistic = statistics[index]
            wanted = pd.DataFrame({"key": keys, "day": days})
            found = wanted.merge(pd.concat(by_statistic[index]), how="left", on=["key", "day"])
            own = found[_columns(statistic.of)].to_numpy()
            if len(found) != len(wanted) or np.isnan(own).any():
                raise RuntimeError(f"sums of {statistic.name} got lost on the way")
            before, *_ = _day_totals(self.plan, self.start, index, totals)
            of_day = before[np.searchsorted(sorted(totals), days)]
            values = statistic.values(own, of_day)
            for name, column in zip(statistic.features, values.T, strict=True):
                rows = rows.append_column(name, pa.array(column, mask=np.isnan(column)))
        yield partition, to_ipc(rows)


def _day_totals(
    plan: PastDaysPlan, start: FeatureState, index: int, totals: Mapping[int, tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of a statistic over all keys.

    Returns:
      [D, 1 + T]: before each day of `totals`.
      [1 + T]: as of the end of the state's day.
      [1 + T]: as of the end of the last day.
    """
    statistic = plan.statistics[index]
    columns = _columns(_tasks(plan.statistics))
    days = np.array(sorted(totals), np.int64)
    rows = np.array([totals[day] for day in days]).reshape(-1, len(columns))
    before, after, end = past_sums(
        np.zeros(len(days), np.int64),
        days,
        rows[:, [columns.index(column) for column in _columns(statistic.of)]],
        start.totals[index][np.newaxis],
        start.last_day,
        plan.last_day,
        plan.state_day,
        statistic.half_life_days,
    )
    return before, after[0], end[0]


def _counts(rows: pa.Table, tasks: Iterable[str]) -> pd.DataFrame:
    """What each row adds to the sums of its day: `day`, `count` and the positives."""
    columns: dict[str, np.ndarray] = {
        "day": rows.column("day").to_numpy(),
        "count": np.ones(rows.num_rows, np.int64),
    }
    for task in tasks:
        columns[f"positives:{task}"] = known_labels(rows, task).to_numpy()
    return pd.DataFrame(columns)


def _columns(tasks: Iterable[str]) -> list[str]:
    return ["count", *(f"positives:{task}" for task in tasks)]


def _tasks(statistics: Iterable[Statistic]) -> list[str]:
    return sorted({task for statistic in statistics for task in statistic.of})


def _matrix(parts: list[tuple[int, pa.Table]], columns: list[str]) -> np.ndarray:
    table = pa.concat_tables([table for _, table in parts])
    return np.stack([table.column(column).to_numpy() for column in columns], axis=1)


def _by_key(table: pa.Table, shards: int) -> Iterator[tuple[int, pa.Table]]:
    target = table.column("key").to_numpy().view(np.uint64) % np.uint64(shards)
    for shard in np.unique(target).tolist():
        yield shard, table.filter(pa.array(target == shard))


def _sum_columns(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*rows, strict=True))
