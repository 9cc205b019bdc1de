"""Events that arrive again on a later day, found when only that day is read."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from transforms.dedupe import key_hashes, order_hashes
from transforms.earlier_events import by_partition, events_of, kept_until, partition_of, repeated
from transforms.feature_state import read_shard, read_state
from transforms.tally import Tally

from . import past_logs


def _rows(serials, day):
    """Rows, one an event."""
    texts = pa.array([f"u{serial}" for serial in serials])
    times = pa.array([str(serial) for serial in serials])
    return pa.table(
        {
            "text:user": texts,
            "text:time": times,
            "key_hash": order_hashes([texts, times], [texts]),
            "day": np.full(len(serials), day, np.int32),
        }
    )


@pytest.mark.parametrize("request_columns", [(), ("user",)])
def test_kept_events_come_to_the_partition_of_their_repetitions(schema, request_columns):
    schema = dataclasses.replace(schema, request=request_columns)
    rows = _rows(range(100), 5)
    if not request_columns:
        keys = key_hashes([rows.column(c).combine_chunks() for c in ("text:user", "text:time")])
        rows = rows.set_column(2, "key_hash", pa.array(keys))
    events = events_of(rows, schema)
    assert ("placed" in events.column_names) == bool(request_columns)
    target = partition_of(rows.column("key_hash").to_numpy(), 4)
    for partition, part in by_partition(events, 4):
        assert repeated(events, [part]).tolist() == (target == partition).tolist()


def test_only_the_last_days_are_kept(schema):
    parts = [events_of(_rows(range(10 * day, 10 * day + 10), day), schema) for day in (3, 4, 5)]
    kept = kept_until(parts, 5, 2)
    assert kept.equals(kept_until(parts[::-1], 5, 2))
    assert sorted(kept.column("day").to_pylist()) == [4] * 10 + [5] * 10
    again = events_of(_rows([0, 35, 49, 50, 99], 6), schema)
    assert repeated(again, [kept]).tolist() == [False, False, True, True, False]


def _tally(folder):
    return Tally.from_json((folder / "tally.json").read_text())


def test_day_by_day_drops_what_all_at_once_drops(tmp_path):
    rows = past_logs.draw(3)
    # Events of the first two days arrive again, as they are or changed, in the logs of the third.
    again = [{**row, "day": 2, "date": past_logs.date(2)} for row in rows if row["day"] < 2]
    again[0]["click"] = 1 - again[0]["click"]
    rows = [row for row in rows if row["day"] < 2] + [row for row in rows if row["day"] == 2]
    whole = past_logs.ingest(tmp_path / "whole", [*rows, *again], days=(0, 2))

    past_logs.ingest(tmp_path / "0", [*rows, *again], days=(0, 0), partitions=2)
    state = tmp_path / "0" / "state"
    past_logs.ingest(tmp_path / "1", [*rows, *again], days=(1, 1), partitions=5, start=state)
    state = tmp_path / "1" / "state"
    last = past_logs.ingest(tmp_path / "2", [*rows, *again], days=(2, 2), start=state)
    of_day = [row["serial"] for row in rows if row["day"] == 2]
    assert last == {serial: whole[serial] for serial in of_day}
    assert _tally(tmp_path / "2").of("duplicates")["earlier_days"] == len(again)
    read = collections.Counter(row["day"] for row in rows)
    assert sum(_tally(tmp_path / "2").of("day").values()) == read[2]

    # The state keeps two days: the first is forgotten.
    kept = pa.concat_tables(map(read_shard, read_state(str(tmp_path / "2" / "state")).events()))
    days = collections.Counter(day - past_logs.FIRST_DAY for day in kept.column("day").to_pylist())
    assert days == {day: read[day] for day in (1, 2)}
