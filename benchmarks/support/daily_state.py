"""Feature states as of the end of any day, from raw examples that were ingested once."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfx_pipeline.config import Config
from tfx_pipeline.scoring import EvaluationRows
from transforms.feature_state import read_state, write_manifest, write_shard
from transforms.keys import categorical_keys, joint_keys


class DailyStates:
    """Writes states of past-days statistics without a half-life, without histories.

    Args:
      rows: All days, with the columns of the statistics and `_day`; its tasks are binary and have
        all rows in their sample space.
      state: Folder of a state of the same statistics, as of any day.
    """

    def __init__(self, rows: EvaluationRows, state: str):
        self._rows = rows
        self._statistics = read_state(state).statistics
        self._keys = []
        for statistic in self._statistics:
            texts = np.stack([rows.columns[column] for column in statistic.by], axis=1)
            keys = categorical_keys(statistic.by, tf.constant(texts), tf.constant(texts != b""))
            self._keys.append(joint_keys(keys).numpy())

    def write(self, folder: Path, day: int, scratch: Path) -> None:
        """Writes the state as of the end of a day, an ordinal."""
        past = self._rows.columns["_day"] <= day
        totals = []
        for i, (statistic, keys) in enumerate(zip(self._statistics, self._keys, strict=True)):
            unique, place = np.unique(keys[past], return_inverse=True)
            sums: dict[str, np.ndarray] = {"count": np.bincount(place).astype(np.float64)}
            for task in statistic.of:
                sums[f"positives:{task}"] = np.bincount(place, self._rows.labels[task][past])
            write_shard(str(folder), i, "0", pa.table({"key": unique, **sums}), str(scratch))
            totals.append(np.array([column.sum() for column in sums.values()]))
        write_manifest(str(folder), day, self._statistics, totals, None, str(scratch))


def days_of(config: Config) -> list[int]:
    """Ordinals of the evaluation days."""
    first, last = config.data.eval.start, config.data.eval.end
    count = (last - first).days + 1
    return [(first + datetime.timedelta(days=i)).toordinal() for i in range(count)]
