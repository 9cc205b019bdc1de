"""Small random logs, their ingestion with statistics, and the statistics in plain Python."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.days import Splits
from transforms.enrich import load_side_table
from transforms.feature_state import read_shard, read_state
from transforms.history import History
from transforms.ingest import Ingest, Plan, save_tables
from transforms.log_files import find_log_files, open_file
from transforms.log_schema import LogSchema
from transforms.statistics import Statistic
from transforms.task_labels import Label

RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
FIRST_DAY = datetime.date(2024, 1, 1).toordinal()
STATISTICS = (
    Statistic(("user",), ("click", "long"), 20.0),
    Statistic(("author",), ("long",), 0.5),
    Statistic(("user", "tab"), ("click",), 3.0),
    Statistic(("author", "tab"), ("click", "long"), 1.0, 1.5),
    Statistic(("user",), ("click",), 20.0, 7.0),
)
"""`author` is missing for items that the item table does not hold."""

_COLUMNS = ("serial", "user", "item", "tab", "date", "time", "click", "long")


def draw(seed: int, days: int = 5, rows: int = 160) -> list[dict[str, Any]]:
    """Rows of the first days; `day` counts from 0, the day `days - 2` has none."""
    drawn = random.Random(seed)
    shown = [day for day in range(days) if day != days - 2]
    return [
        {
            "serial": serial,
            "user": f"u{drawn.randrange(6)}",
            "item": str(drawn.randrange(9)),
            "tab": drawn.choice(["1", "0", "7", "tab of tomorrow", "日"]),
            "day": (day := drawn.choice(shown)),
            "date": date(day),
            "time": serial,
            "click": drawn.randrange(2),
            "long": int(drawn.random() < 0.3),
        }
        for serial in range(rows)
    ]


def ingest(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    days: tuple[int, int] = (0, 4),
    partitions: int = 3,
    statistics: tuple[Statistic, ...] = STATISTICS,
    history: History | None = None,
    event_key: tuple[str, ...] = ("user", "time"),
    start: Path | None = None,
    state_split: str | None = None,
) -> dict[int, dict[str, Any]]:
    """Ingests rows, as two files in whatever order they are, with some of them twice.

    Returns:
      The features of every row, by its serial number; None where one is missing.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True)
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", [*rows[half:], *rows[:20]])):
        lines = [",".join(str(row[column]) for column in _COLUMNS) for row in part]
        (logs / f"{name}.csv").write_text("\n".join([",".join(_COLUMNS), *lines, ""]))
    items = [f"{item},a{item % 3}" for item in range(6)]
    (logs / "items.csv").write_text("\n".join(["item,author", *items, ""]))
    schema = LogSchema(
        categorical=("user", "item", "author"),
        numeric=("serial",),
        scenario="tab",
        scenarios=("1", "0", "other"),
        user="user",
        event_key=event_key,
        event_time="time",
        day_column="date",
        day_format="%Y%m%d",
        labels={"click": Label("click == 1"), "long": Label("long == 1")},
        true_probabilities={},
        table_keys={"items": "item"},
        statistics=statistics,
        history=history,
    )
    first, last = (datetime.date.fromordinal(FIRST_DAY + day) for day in days)
    split = first if first == last else last - datetime.timedelta(days=1)
    splits = Splits({"train": (first, split)} | ({} if first == last else {"eval": (last, last)}))
    files, _ = find_log_files(str(logs), "[ab].csv", "auto", splits, "date")
    plan = Plan(
        files=tuple(files),
        schema=schema,
        splits=splits,
        tables=str(folder / "tables"),
        partitions=partitions,
        examples=str(folder / "examples"),
        rejected=str(folder / "rejected"),
        tally=str(folder / "tally.json"),
        state=str(folder / "state"),
        scratch=str(folder / "scratch"),
        start=None if start is None else str(start),
        duplicate_days=2,
        state_split=state_split,
    )
    table = load_side_table(schema, "items", [str(logs / "items.csv")], "auto", open_file)
    save_tables({"items": table}, plan.tables)
    with beam.Pipeline(options=PipelineOptions([RUNNER])) as pipeline:
        pipeline | Ingest(plan)
    assert list((folder / "scratch").iterdir()) == []
    return {int(row["serial"]): row for row in map(_values, records(folder))}


def records(folder: Path) -> list[bytes]:
    """The examples that were written."""
    files = sorted(map(str, (folder / "examples").rglob("*.gz")))
    return list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())


def sums(folder: Path) -> list[dict[int, list[float]]]:
    """What the feature state holds: for each statistic, sums by key."""
    state = read_state(str(folder / "state"))
    found = []
    for statistic in state.statistics:
        table = pa.concat_tables(map(read_shard, state.shards(statistic)))
        keys, *columns = (column.to_pylist() for column in table.columns)
        assert len(set(keys)) == len(keys)
        found.append(dict(zip(keys, map(list, zip(*columns, strict=True)), strict=True)))
    return found


def expected(
    rows: Sequence[dict[str, Any]],
    row: dict[str, Any],
    statistics: Sequence[Statistic] = STATISTICS,
) -> dict[str, float | None]:
    """The statistics of a row, a row at a time."""
    features: dict[str, float | None] = {}
    for statistic in statistics:
        earlier = [other for other in rows if other["day"] < row["day"]]
        weights = [
            1.0
            if statistic.half_life_days is None
            else 0.5 ** ((row["day"] - 1 - other["day"]) / statistic.half_life_days)
            for other in earlier
        ]
        same = [_key(other, statistic) == _key(row, statistic) for other in earlier]
        count = math.fsum(w for w, s in zip(weights, same, strict=True) if s)
        features[f"stat:{statistic.name}:count"] = count
        for task in statistic.of:
            positives = [w * other[task] for w, other in zip(weights, earlier, strict=True)]
            own = math.fsum(p for p, s in zip(positives, same, strict=True) if s)
            rate = None
            if earlier:
                overall = math.fsum(positives) / math.fsum(weights)
                rate = (own + statistic.prior * overall) / (count + statistic.prior)
            features[f"stat:{statistic.name}:{task}:rate"] = rate
    return features


def _key(row: dict[str, Any], statistic: Statistic) -> tuple[str, ...]:
    item = int(row["item"])
    author = f"a{item % 3}" if item < 6 else "none"
    return tuple({**row, "author": author}[column] for column in statistic.by)


def date(day: int) -> str:
    return datetime.date.fromordinal(FIRST_DAY + day).strftime("%Y%m%d")


def _values(record: bytes) -> dict[str, Any]:
    features = tf.train.Example.FromString(record).features.feature
    values = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        values[name] = next(iter(getattr(feature, kind).value), None) if kind else None
    return values
