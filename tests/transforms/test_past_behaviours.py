"""Histories in the Beam pass, against a plain Python that sees one row at a time."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from transforms.behaviour_store import BehaviourStore
from transforms.dedupe import key_hashes
from transforms.feature_state import read_shard, read_state
from transforms.history import MISSING, History, windows
from transforms.problems import InputError

from . import past_logs

HISTORY = History(
    user="user",
    time="time",
    items=("item", "author"),
    scenario="tab",
    labels=("long", "click"),
    age=True,
    length=5,
)
KEY = ("user", "serial")
COLUMNS = {"item": "item", "author": "author", "tab": "tab", "long": "long", "click": "click"}


def draw(seed: int, rows: int = 160, days: int = 5) -> list[dict[str, Any]]:
    """Rows of a few users, many of them at equal times; `u0` has most. Days and times agree."""
    drawn = random.Random(seed)
    found = past_logs.draw(seed, days, rows)
    for row in found:
        row["user"] = drawn.choice(["u0", "u0", "u0", "u1", "日"])
        row["time"] = 100 * row["day"] + drawn.randrange(12)
    return found


def ingest(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> dict[int, dict]:
    """The histories of every row, by its serial number, and the statistics with them."""
    options = {"history": HISTORY, "event_key": KEY, "statistics": (), **options}
    past_logs.ingest(folder, rows, **options)
    return histories(folder)


def histories(folder: Path) -> dict[int, dict[str, list]]:
    found = {}
    for record in past_logs.records(folder):
        features = tf.train.Example.FromString(record).features.feature
        values = {
            name: list(getattr(feature, feature.WhichOneof("kind") or "bytes_list").value)
            for name, feature in features.items()
        }
        (serial,) = values["serial"]
        found[int(serial)] = {k: v for k, v in values.items() if k.startswith("history:")}
    return found


def expected(rows: Sequence[dict[str, Any]], row: dict[str, Any]) -> dict[str, list]:
    """The history of a row, a row at a time."""
    before = [
        other
        for other in rows
        if other["user"] == row["user"]
        and (other["day"], other["time"]) < (row["day"], row["time"])
    ]
    before.sort(key=lambda other: (other["day"], other["time"], _hash(other)))
    before = [other for other in before[-HISTORY.length :] if other["time"] < row["time"]]
    return {
        "history:item": [other["item"].encode() for other in before],
        "history:author": [
            f"a{int(other['item']) % 3}".encode() if int(other["item"]) < 6 else MISSING
            for other in before
        ],
        "history:tab": [other["tab"].encode() for other in before],
        "history:long": [float(other["long"]) for other in before],
        "history:click": [float(other["click"]) for other in before],
        "history:age": [float(row["time"] - other["time"]) for other in before],
    }


def _hash(row: dict[str, Any]) -> int:
    return int(key_hashes([pa.array([str(row[column])]) for column in KEY])[0])


def behaviours(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the feature state keeps, by user."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in read_state(str(folder / "state")).behaviours():
        of_file: dict[str, list[dict[str, Any]]] = {}
        for row in read_shard(path).to_pylist():
            of_file.setdefault(row.pop("user"), []).append(row)
        assert not found.keys() & of_file.keys()
        found |= of_file
    return found


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return draw(seed=2)


@pytest.fixture(scope="module")
def whole(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, dict]]:
    """Folder of an ingestion of all days, and the histories that it gave."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, ingest(folder, rows)


def test_they_are_the_last_behaviours_strictly_before(rows, whole):
    _, found = whole
    assert len(found) == len(rows)
    sizes, cut, tied = set(), 0, 0
    for row in rows:
        history = expected(rows, row)
        assert found[row["serial"]] == history
        sizes.add(len(history["history:age"]))
        of_user = [other for other in rows if other["user"] == row["user"]]
        cut += sum(other["time"] < row["time"] for other in of_user) > HISTORY.length
        tied += sum(other["time"] == row["time"] for other in of_user) > 1
    assert sizes == set(range(HISTORY.length + 1)) and cut > 50 and tied > 50


def test_days_and_times_that_disagree_let_nothing_later_in(rows, tmp_path):
    drawn = random.Random(0)
    mixed = [{**row, "time": drawn.randrange(30)} for row in rows]
    found = ingest(tmp_path, mixed)
    for row in mixed:
        assert found[row["serial"]] == expected(mixed, row)
    shortened = [len(history["history:age"]) for history in found.values()]
    assert min(age for history in found.values() for age in history["history:age"]) > 0
    assert 0 < np.mean(shortened) < HISTORY.length


def test_a_row_changes_later_rows_of_its_user_alone(rows, whole, tmp_path):
    target = next(row for row in rows if row["day"] == 1 and row["user"] == "u0")
    flipped = [
        {**row, "click": 1 - row["click"]} if row["serial"] == target["serial"] else row
        for row in rows
    ]
    after = ingest(tmp_path, flipped)
    changed = [row for row in rows if after[row["serial"]] != whole[1][row["serial"]]]
    assert changed
    for row in changed:
        assert row["user"] == target["user"] and row["time"] > target["time"]


def test_partitions_and_file_order_change_nothing(rows, whole, tmp_path):
    folder, found = whole
    assert ingest(tmp_path, rows[::-1], partitions=1) == found
    assert behaviours(tmp_path) == behaviours(folder)
    manifests = [(f / "state" / "state.json").read_bytes() for f in (folder, tmp_path)]
    assert manifests[0] == manifests[1]


def test_statistics_and_histories_stand_side_by_side(rows, whole, tmp_path):
    found = past_logs.ingest(tmp_path, rows, history=HISTORY, event_key=KEY)
    assert histories(tmp_path) == whole[1]
    alone = past_logs.ingest(tmp_path / "alone", rows, event_key=KEY)
    for serial, features in alone.items():
        assert {name: found[serial][name] for name in features} == features


@pytest.mark.parametrize("last", [0, 2])
def test_the_state_goes_on_where_it_was_left(rows, whole, tmp_path, last):
    folder, found = whole
    first = ingest(tmp_path / "1", rows, days=(0, last), partitions=2)
    state = tmp_path / "1" / "state"
    then = ingest(tmp_path / "2", rows, days=(last + 1, 4), partitions=5, start=state)
    assert first == {row["serial"]: found[row["serial"]] for row in rows if row["day"] <= last}
    assert then == {row["serial"]: found[row["serial"]] for row in rows if row["day"] > last}
    assert behaviours(tmp_path / "2") == behaviours(folder)


def test_the_state_keeps_the_last_behaviours_of_every_user(rows, whole):
    kept = behaviours(whole[0])
    assert kept.keys() == {row["user"] for row in rows}
    for user, found in kept.items():
        end = expected(rows, {"user": user, "day": 99, "time": 10_000})
        assert [10_000 - row["time"] for row in found] == end["history:age"]
        assert [row["history:click"] for row in found] == end["history:click"]
        assert [row["history:item"].encode() for row in found] == end["history:item"]


def test_a_state_of_other_histories_is_refused(rows, whole, tmp_path):
    folder, _ = whole
    longer = dataclasses.replace(HISTORY, length=6)
    for name, history in (("1", longer), ("2", None)):
        with pytest.raises(ValueError, match=r"found the histories History\(.*length=5"):
            ingest(tmp_path / name, rows, days=(5, 5), start=folder / "state", history=history)


def test_a_state_of_the_first_format_is_refused(whole, tmp_path):
    manifest = json.loads((whole[0] / "state" / "state.json").read_text())
    del manifest["history"]
    (tmp_path / "state.json").write_text(json.dumps({**manifest, "format": 1}))
    for read in (lambda: read_state(str(tmp_path)), lambda: BehaviourStore(tmp_path)):
        with pytest.raises(
            InputError, match="found a feature state of format 1; expected format 3"
        ):
            read()


def test_a_store_gives_a_request_what_ingestion_gives_the_row(rows, whole, tmp_path):
    """The first rows of the last day, asked for with the state of the day before."""
    ingest(tmp_path, rows, days=(0, 3))
    store = BehaviourStore(tmp_path / "state")
    asked = [
        row
        for row in rows
        if row["day"] == 4
        and row["time"]
        == min(r["time"] for r in rows if r["day"] == 4 and r["user"] == row["user"])
    ]
    assert len(asked) >= 3
    asked.append({"user": "new", "time": 500, "serial": -1})
    columns = ["item", "user", *HISTORY.features]
    requests = [{name: row[name] for name in ("user", "time")} for row in asked]
    for row, filled in zip(asked, store.fill(requests, columns), strict=True):
        assert filled.pop("user") == row["user"]
        as_written = {
            name: [
                MISSING if v is None else v.encode() if isinstance(v, str) else v for v in values
            ]
            for name, values in filled.items()
        }
        wanted = {name: [] for name in HISTORY.features}
        assert as_written == (whole[1][row["serial"]] if row["serial"] >= 0 else wanted)


def test_what_a_store_cannot_fill(whole, tmp_path):
    store = BehaviourStore(whole[0] / "state")
    with pytest.raises(InputError, match="history:like"):
        store.fill([{"user": "u0", "time": 1}], ["history:like"])
    with pytest.raises(InputError, match="row 2: found no `time`; expected an event time"):
        store.fill([{"user": "u0", "time": 1}, {"user": "u0"}], [])
    with pytest.raises(InputError, match="a feature state"):
        BehaviourStore(tmp_path)
    own = store.fill([{"user": "u0", "time": 1e6, "history:age": [3.0]}], ["history:age"])
    assert own == [{"history:age": [3.0]}]


def test_windows_by_hand():
    users = np.array([0, 0, 0, 0, 1, 1])
    days = np.array([1, 1, 1, 2, 1, 1])
    times = np.array([5.0, 7.0, 7.0, 7.0, 1.0, 2.0])
    first, end = windows(users, days, times, length=2)
    assert list(zip(first.tolist(), end.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 1),
        (1, 3),
        (4, 4),
        (4, 5),
    ]
