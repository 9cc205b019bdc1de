"""A small log that goes through every step of ingestion, and the plans to ingest it."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import Any

import tensorflow as tf

from transforms.clock import Clock
from transforms.days import Splits
from transforms.enrich import load_side_table
from transforms.history import History
from transforms.ingest import Plan, save_tables
from transforms.log_files import find_log_files, find_outcome_files, open_file
from transforms.log_schema import LogSchema
from transforms.outcomes import OutcomeColumn, Outcomes
from transforms.statistics import Statistic
from transforms.task_labels import Label

_SECONDS = 86_400
_FIRST = datetime.date(2024, 1, 1)
_START = int(datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc).timestamp())

SCHEMA = LogSchema(
    categorical=("user", "item", "author"),
    numeric=("age",),
    scenario="tab",
    scenarios=("1", "other"),
    user="user",
    event_key=("event",),
    event_time="time",
    day_column="date",
    day_format="%Y-%m-%d",
    labels={"click": Label("clicked == 1"), "spend": Label("paid / price >= 2")},
    true_probabilities={},
    table_keys={"items": "item"},
    statistics=(
        Statistic(("user",), ("click",), 3.0),
        Statistic(("author", "tab"), ("click", "spend"), 1.0, 1.5),
    ),
    history=History("user", "time", ("item",), "tab", ("click",), True, 4),
    clock=Clock("s", "UTC", datetime.timedelta(0), True),
    outcomes=Outcomes(
        key=("user", "item"),
        time="at",
        event_key=(),
        columns=(OutcomeColumn("paid", "amount", "sum"),),
        window=1.5 * _SECONDS,
        skew=0,
        time_unit="s",
    ),
    enums=("tab",),
)
"""Joined tables, outcomes, statistics, histories, enums."""


def write_logs(folder: Path, seed: int = 1, rows: int = 120) -> None:
    """Draws days with duplicates, with rows that cannot be used, and with rows of other days."""
    drawn = random.Random(seed)
    folder.mkdir(parents=True)
    shown: list[dict[str, Any]] = []
    for i in range(rows):
        time = _START + drawn.randrange(0, 5 * _SECONDS, _SECONDS // 6)  # equal ones too
        shown.append(
            {
                "event": f"e{i}",
                "user": drawn.choice(["u0", "u0", "u1", "u2", "日"]),
                "item": str(drawn.randrange(6)),
                "tab": drawn.choice(["1", "1", "2", "3"]),
                "time": time,
                "date": str(_day((time - _START) // _SECONDS)),
                "age": drawn.choice([None, 20, 30.5]),
                "clicked": drawn.randrange(2),
                "price": 0 if i % 20 == 7 else drawn.choice([1, 2, 5]),
            }
        )
    # The same again, and the same key with another row.
    shown += [dict(row) for row in drawn.sample(shown, 10)]
    shown += [{**row, "age": 99} for row in drawn.sample(shown, 10)]
    drawn.shuffle(shown)
    for name in ("a", "b"):
        part = [json.dumps(row) for row in shown[:: 2 if name == "a" else -2]]
        (folder / f"log_{name}.jsonl").write_text("\n".join([*part, "broken", ""]))
    for day in range(7):
        outcomes = [
            {
                "user": row["user"],
                "item": row["item"],
                "at": _START + day * _SECONDS + drawn.randrange(_SECONDS),
                "amount": drawn.choice([None, 1, 4]),
            }
            for row in drawn.sample(shown, 12)
        ]
        lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in outcomes]
        (folder / f"outcomes_{_day(day)}.jsonl").write_text(
            "\n".join([*lines, *lines[:2], "broken", ""])
        )
    items = [f"{item},a{item % 2}" for item in range(4)]
    (folder / "items.csv").write_text("\n".join(["item,author", *items, ""]))


def make_plan(
    logs: Path, out: Path, days: tuple[int, int], start: Path | None = None, partitions: int = 3
) -> Plan:
    """A plan to ingest some days, training on all but the last, from an earlier feature state."""
    first, last = days
    splits = Splits({"train": (_day(first), _day(last - 1)), "eval": (_day(last), _day(last))})
    files, problems = find_log_files(str(logs), "log_*.jsonl", "auto", splits, "date")
    pattern = "outcomes_{YYYY}-{MM}-{DD}.jsonl"
    outcomes, absent = find_outcome_files(str(logs), pattern, None, "auto", splits, 2, len(files))
    assert not problems and not absent
    plan = Plan(
        files=tuple(files),
        schema=SCHEMA,
        splits=splits,
        tables=str(out / "tables"),
        partitions=partitions,
        examples=str(out / "examples"),
        rejected=str(out / "rejected"),
        tally=str(out / "tally.json"),
        state=str(out / "state"),
        scratch=str(out / "scratch"),
        start=None if start is None else str(start),
        outcomes=tuple(outcomes),
        duplicate_days=2,
    )
    table = load_side_table(SCHEMA, "items", [str(logs / "items.csv")], "auto", open_file)
    save_tables({"items": table}, plan.tables)
    return plan


def written(out: Path) -> dict[str, list[bytes]]:
    """What a plan's pass leaves in every file, but for its tally: of examples the records.

    The features of a record are a map, which protobuf writes in no fixed order.
    """
    found = {}
    for name in ("examples", "rejected", "state", "scratch"):
        for path in sorted((out / name).rglob("*")):
            if name == "examples" and path.is_file():
                records = tf.data.TFRecordDataset([str(path)], "GZIP").as_numpy_iterator()
                content = [
                    tf.train.Example.FromString(r).SerializeToString(deterministic=True)
                    for r in records
                ]
            elif path.is_file():
                content = [path.read_bytes()]
            else:
                continue
            found[str(path.relative_to(out))] = content
    return found


def _day(day: int) -> datetime.date:
    return _FIRST + datetime.timedelta(days=day)
