"""Statistics in the Beam pass, against a plain Python that sees one row at a time."""

from __future__ import annotations

import json

import pytest

from transforms.feature_state import read_state, served_folder
from transforms.history import History
from transforms.problems import InputError
from transforms.statistics import Statistic, feature_names

from . import past_logs

HISTORY = History("user", "time", ("item",), "tab", ("click",), True, 3)
NAMES = feature_names(past_logs.STATISTICS)


@pytest.fixture(scope="module")
def rows():
    return past_logs.draw(seed=1)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """Folder of an ingestion of all days, and the features that it gave."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, past_logs.ingest(folder, rows)


def statistics_of(features):
    return {name: features[name] for name in NAMES}


def test_they_are_those_of_strictly_earlier_days(rows, whole):
    _, found = whole
    assert len(found) == len(rows)
    missing = 0
    for row in rows:
        for name, value in past_logs.expected(rows, row).items():
            feature = found[row["serial"]][name]
            missing += feature is None
            assert feature == (None if value is None else pytest.approx(value, rel=1e-6)), name
    first_day = sum(row["day"] == 0 for row in rows)
    assert missing == first_day * sum(name.endswith("rate") for name in NAMES) > 0


def test_a_label_changes_nothing_on_its_day_or_before(rows, whole, tmp_path):
    day = 2
    flipped = [
        {**row, "click": 1 - row["click"], "long": 1 - row["long"]} if row["day"] == day else row
        for row in rows
    ]
    after = past_logs.ingest(tmp_path, flipped)
    changed = {
        row["day"]
        for row in rows
        if statistics_of(after[row["serial"]]) != statistics_of(whole[1][row["serial"]])
    }
    assert changed == {row["day"] for row in rows if row["day"] > day}


def test_partitions_and_file_order_change_nothing(rows, whole, tmp_path):
    folder, found = whole
    assert past_logs.ingest(tmp_path, rows[::-1], partitions=1) == found
    assert past_logs.sums(tmp_path) == past_logs.sums(folder)
    manifests = [(f / "state" / "state.json").read_bytes() for f in (folder, tmp_path)]
    assert manifests[0] == manifests[1]


def test_a_state_of_an_earlier_day_knows_nothing_of_later_rows(rows, whole, tmp_path):
    found = past_logs.ingest(tmp_path / "1", rows, history=HISTORY, state_split="train")
    past_logs.ingest(tmp_path / "2", rows, history=HISTORY, days=(0, 3))
    states = [tmp_path / name / "state" for name in ("1", "2")]
    files = [sorted(f.relative_to(s) for f in s.rglob("*") if f.is_file()) for s in states]
    served = [f.relative_to("served") for f in files[0] if f.parts[0] == "served"]
    files[0] = [f for f in files[0] if f.parts[0] != "served"]
    assert files[0] == files[1] and len({f.parts[0] for f in files[0]}) == 4
    assert served == [f for f in files[0] if f.parts[0] != "events"]
    for file in files[0]:
        assert (states[0] / file).read_bytes() == (states[1] / file).read_bytes(), file
    # What is served knows them.
    past_logs.ingest(tmp_path / "3", rows, history=HISTORY)
    for file in served:
        last = tmp_path / "3" / "state" / file
        assert (states[0] / "served" / file).read_bytes() == last.read_bytes(), file
    assert served_folder(str(states[0])) == str(states[0] / "served")
    assert served_folder(str(states[1])) == str(states[1])
    # The rows themselves have what is known before each of them, as ever.
    assert {s: statistics_of(f) for s, f in found.items()} == {
        s: statistics_of(f) for s, f in whole[1].items()
    }


def test_the_state_goes_on_where_it_was_left(rows, whole, tmp_path):
    folder, found = whole
    past_logs.ingest(tmp_path / "1", rows, days=(0, 1), partitions=2)
    state = tmp_path / "1" / "state"
    then = past_logs.ingest(tmp_path / "2", rows, days=(2, 4), partitions=5, start=state)
    assert then == {row["serial"]: found[row["serial"]] for row in rows if row["day"] >= 2}
    assert past_logs.sums(tmp_path / "2") == past_logs.sums(folder)
    manifests = [(f / "state" / "state.json").read_bytes() for f in (folder, tmp_path / "2")]
    assert manifests[0] == manifests[1]


def test_a_state_that_cannot_be_gone_on_from(rows, whole, tmp_path):
    folder, _ = whole
    with pytest.raises(ValueError, match="expected one before day"):
        past_logs.ingest(tmp_path / "1", rows, days=(4, 4), start=folder / "state")
    others = (Statistic(("user",), ("click",), 20.0),)
    with pytest.raises(ValueError, match="found the statistics .*author"):
        past_logs.ingest(
            tmp_path / "2", rows, days=(5, 5), start=folder / "state", statistics=others
        )


def test_a_state_of_another_label_of_the_same_name(whole, tmp_path):
    manifest = json.loads((whole[0] / "state" / "state.json").read_text())
    assert manifest["settings"]["labels"]["click"] == {"label": "click == 1", "space": None}
    manifest["settings"]["labels"]["click"]["label"] = "click > 0"
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="found labels and times .*click > 0"):
        past_logs.ingest(tmp_path / "1", past_logs.draw(seed=1), days=(5, 5), start=state)


def test_a_state_of_another_format(whole, tmp_path):
    manifest = json.loads((whole[0] / "state" / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(InputError, match="found a feature state of format 2; expected format 3"):
        read_state(str(tmp_path))


def test_without_statistics_the_state_is_a_day(rows, tmp_path):
    found = past_logs.ingest(tmp_path, rows, statistics=())
    assert not any(name.startswith("stat:") for features in found.values() for name in features)
    state = read_state(str(tmp_path / "state"))
    assert (state.statistics, state.last_day) == ((), past_logs.FIRST_DAY + 4)
