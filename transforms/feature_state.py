"""The feature state: what later days and the server need to know of all days up to one.

A folder with `state.json` (its format, the last day, what each statistic is, its sums over all
keys) and `statistics/*.parquet`, the sums of every key: `key`, `count` and `positives:<task>` in
float64, where `key` is that of `transforms.keys.joint_keys`.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from transforms.problems import InputError, Problem
from transforms.statistics import Statistic
from transforms.storage import read_file, renamed_into_place, write_file

FORMAT = 1

_MANIFEST = "state.json"


@dataclass(frozen=True)
class FeatureState:
    """A state that was written.

    Args:
      folder: Where it lies.
      last_day: Ordinal of the day that it is as of the end of.
      statistics: What it holds sums for.
      totals: Of each statistic, the sums over all keys, float64 [1 + T].
    """

    folder: str
    last_day: int
    statistics: tuple[Statistic, ...]
    totals: tuple[np.ndarray, ...]

    def shards(self, statistic: Statistic) -> list[str]:
        """Files with the sums of a statistic."""
        index = self.statistics.index(statistic)
        return sorted(tf.io.gfile.glob(os.path.join(_folder(self.folder), f"{index:03d}-*")))


def read_state(folder: str) -> FeatureState:
    """Opens a state.

    Raises:
      InputError: if it is of another format.
    """
    path = os.path.join(folder, _MANIFEST)
    manifest = json.loads(read_file(path))
    if manifest["format"] != FORMAT:
        raise InputError(
            [
                Problem(
                    path,
                    f"a feature state of format {manifest['format']}",
                    f"format {FORMAT}",
                    "Ingest the logs again with this version.",
                )
            ]
        )
    entries = manifest["statistics"]
    return FeatureState(
        folder,
        datetime.date.fromisoformat(manifest["last_day"]).toordinal(),
        tuple(
            Statistic(tuple(e["by"]), tuple(e["of"]), e["prior"], e["half_life_days"])
            for e in entries
        ),
        tuple(np.array([e["count"], *e["positives"]], np.float64) for e in entries),
    )


def write_manifest(
    folder: str,
    last_day: int,
    statistics: Sequence[Statistic],
    totals: Sequence[np.ndarray],
    scratch: str,
) -> None:
    """Writes `state.json`; arguments as in `FeatureState`."""
    manifest = {
        "format": FORMAT,
        "last_day": datetime.date.fromordinal(last_day).isoformat(),
        "statistics": [
            {**dataclasses.asdict(s), "count": float(sums[0]), "positives": sums[1:].tolist()}
            for s, sums in zip(statistics, totals, strict=True)
        ],
    }
    with renamed_into_place(os.path.join(folder, _MANIFEST), scratch) as draft:
        write_file(draft, json.dumps(manifest, indent=1, allow_nan=False).encode())


def write_shard(folder: str, index: int, shard: str, sums: pa.Table, scratch: str) -> None:
    """Writes the sums of some keys of the statistic at `index`."""
    sink = io.BytesIO()
    pq.write_table(sums, sink)
    path = os.path.join(_folder(folder), f"{index:03d}-{shard}.parquet")
    with renamed_into_place(path, scratch) as draft:
        write_file(draft, sink.getvalue())


def read_shard(path: str) -> pa.Table:
    """Reads what `write_shard` wrote."""
    return pq.read_table(io.BytesIO(read_file(path)))


def _folder(folder: str) -> str:
    return os.path.join(folder, "statistics")
