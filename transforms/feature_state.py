"""The feature state: what later days and the server need to know of all days up to one.

A folder with `state.json` (its format, the last day, what each statistic is, its sums over all
keys, what is kept of a behaviour, what its labels and times are), with `statistics/*.parquet`, the
sums of every key: `key`, `count` and `positives:<task>` in float64, where `key` is that of
`transforms.keys.joint_keys`, and with `histories/*.parquet`, the last behaviours of every user:
`user`, `time` and, by the names of the features, its items, scenario and labels; a user's rows
stand together, oldest first; and with `events/*.parquet`, the event keys of the last days, as
`earlier_events` keeps them.

Where the last rows are of days that a later ingestion will read again, the state is as of the end
of the day before them, for that ingestion to go on from, and `served/` is the one as of the end of
all rows, without event keys, for servers to answer with.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from transforms.history import History
from transforms.state_format import (
    EVENTS,
    FORMAT,
    HISTORIES,
    MANIFEST,
    SERVED,
    STATISTICS,
    check_format,
    history_of,
)
from transforms.statistics import Statistic
from transforms.storage import read_file, renamed_into_place, write_file


@dataclass(frozen=True)
class FeatureState:
    """A state that was written.

    Args:
      folder: Where it lies.
      last_day: Ordinal of the day that it is as of the end of.
      statistics: What it holds sums for.
      totals: Of each statistic, the sums over all keys, float64 [1 + T].
      history: What it holds of behaviours.
      event_key: Columns of the event keys that it holds.
      settings: What its labels and times are, see `LogSchema.past_settings`.
    """

    folder: str
    last_day: int
    statistics: tuple[Statistic, ...]
    totals: tuple[np.ndarray, ...]
    history: History | None = None
    event_key: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def behaviours(self) -> list[str]:
        """Files with the last behaviours of every user."""
        return sorted(tf.io.gfile.glob(os.path.join(self.folder, HISTORIES, "*.parquet")))

    def events(self) -> list[str]:
        """Files with the event keys of the last days."""
        return sorted(tf.io.gfile.glob(os.path.join(self.folder, EVENTS, "*.parquet")))

    def shards(self, statistic: Statistic) -> list[str]:
        """Files with the sums of a statistic."""
        index = self.statistics.index(statistic)
        return sorted(tf.io.gfile.glob(os.path.join(_folder(self.folder), f"{index:03d}-*")))


def read_state(folder: str) -> FeatureState:
    """Opens a state.

    Raises:
      InputError: if it is of another format.
    """
    path = os.path.join(folder, MANIFEST)
    manifest = json.loads(read_file(path))
    check_format(manifest, path)
    entries = manifest["statistics"]
    return FeatureState(
        folder,
        datetime.date.fromisoformat(manifest["last_day"]).toordinal(),
        tuple(
            Statistic(tuple(e["by"]), tuple(e["of"]), e["prior"], e["half_life_days"])
            for e in entries
        ),
        tuple(np.array([e["count"], *e["positives"]], np.float64) for e in entries),
        history_of(manifest),
        tuple(manifest["event_key"]),
        manifest["settings"],
    )


def served_folder(folder: str) -> str:
    """Folder of what servers answer with, of a state: as of the end of all rows."""
    served = os.path.join(folder, SERVED)
    return served if tf.io.gfile.isdir(served) else folder


def write_manifest(
    folder: str,
    last_day: int,
    statistics: Sequence[Statistic],
    totals: Sequence[np.ndarray],
    history: History | None,
    scratch: str,
    event_key: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes `state.json`; arguments as in `FeatureState`."""
    manifest = {
        "format": FORMAT,
        "last_day": datetime.date.fromordinal(last_day).isoformat(),
        "statistics": [
            {**dataclasses.asdict(s), "count": float(sums[0]), "positives": sums[1:].tolist()}
            for s, sums in zip(statistics, totals, strict=True)
        ],
        "history": None if history is None else dataclasses.asdict(history),
        "event_key": list(event_key),
        "settings": settings or {},
    }
    with renamed_into_place(os.path.join(folder, MANIFEST), scratch) as draft:
        write_file(draft, json.dumps(manifest, indent=1, allow_nan=False).encode())


def write_shard(folder: str, index: int, shard: str, sums: pa.Table, scratch: str) -> None:
    """Writes the sums of some keys of the statistic at `index`."""
    _write(os.path.join(_folder(folder), f"{index:03d}-{shard}.parquet"), sums, scratch)


def write_behaviours(folder: str, shard: str, behaviours: pa.Table, scratch: str) -> None:
    """Writes the last behaviours of some users."""
    _write(os.path.join(folder, HISTORIES, f"{shard}.parquet"), behaviours, scratch)


def write_events(folder: str, shard: str, events: pa.Table, scratch: str) -> None:
    """Writes some event keys of the last days."""
    _write(os.path.join(folder, EVENTS, f"{shard}.parquet"), events, scratch)


def read_shard(path: str) -> pa.Table:
    """Reads a table that was written."""
    return pq.read_table(io.BytesIO(read_file(path)))


def _write(path: str, table: pa.Table, scratch: str) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with renamed_into_place(path, scratch) as draft:
        write_file(draft, sink.getvalue())


def _folder(folder: str) -> str:
    return os.path.join(folder, STATISTICS)
