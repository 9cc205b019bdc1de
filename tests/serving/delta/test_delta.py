"""Deltas of made-up versions, against a rewrite of the policy on dictionaries."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.delta import (
    Delta,
    DeltaRefusedError,
    SyncPolicy,
    Version,
    delta_file,
    make_delta,
    read_delta,
    read_version,
    write_delta,
    write_version,
)
from serving.delta.sync_file import Lineage, Place, RowSync
from serving.delta.table import Rows, Table

FIELDS = ("user", "item")
D = 3
LINEAGE = Lineage((7,), (FIELDS,), "of the graph")
PATH = "examples/_model/embedding/tables/0"


@dataclass
class Row:
    """A key's row, as training has it."""

    values: tuple[float, ...]
    updates: int
    born: int
    field: int
    synced: int = 0


@dataclass
class Model:
    """What training has on a day."""

    day: int
    rows: dict[int, Row] = field(default_factory=dict)
    shared: float = 0.0
    weight: float = 0.0


def version(model: Model, kind: str = "float32", place: Place | None = None) -> Version:
    """The model as it is exported, or, with a place, served."""
    place = place or Place(model.day)
    rows = list(model.rows.values())
    values = np.array([row.values for row in rows], np.float32).reshape(-1, D)
    shared = np.full([len(FIELDS), D], model.shared, np.float32)

    def stored(numbers: np.ndarray) -> Rows:
        if kind == "int8":
            return Rows(numbers.astype(np.int8), numbers.sum(axis=1, dtype=np.float32))
        return Rows(numbers.astype(kind))

    def column(numbers: list[int]) -> np.ndarray:
        return np.array(numbers, np.int32)

    sync = RowSync(
        column([row.updates for row in rows]),
        column([row.born for row in rows]),
        column([row.field for row in rows]),
        column([row.synced if place.sequence else model.day for row in rows]),
    )
    return Version(
        graph=f"graph of day {model.day}".encode(),
        object_graph=b"objects",
        variables={
            "dense": np.full([2, 2], model.weight, np.float32),
            "statistics": np.arange(model.day, dtype=np.float32),
            "constant": np.float32(4.0).reshape(()),
        },
        tables={
            PATH: Table(np.array(list(model.rows), np.int64), stored(values), sync, stored(shared))
        },
        assets={"words": b"a b"},
        lineage=LINEAGE,
        place=place,
    )


def expected(served: dict[int, Row], model: Model, policy: SyncPolicy) -> dict[int, Row]:
    """What is served after a delta, one key at a time."""
    due: dict[int, list[tuple[int, int]]] = {place: [] for place in range(len(FIELDS))}
    for key, row in model.rows.items():
        old = served.get(key)
        if old is not None and old.values == row.values:
            continue
        updates = row.updates
        if old is not None and old.born == row.born and old.updates <= row.updates:
            updates -= old.updates
        updates = max(updates, 1)
        since = row.born if old is None else old.synced
        old_enough = policy.max_age_days is not None and model.day - since > policy.max_age_days
        if updates >= policy.min_updates or old_enough:
            due[row.field].append((-updates, key))
    after = {key: row for key, row in served.items() if key in model.rows}
    for candidates in due.values():
        for _, key in sorted(candidates)[: policy.max_rows_per_field]:
            after[key] = dataclasses.replace(model.rows[key], synced=model.day)
    return after


def as_dict(made: Version) -> dict[int, Row]:
    """The rows that a version serves."""
    table = made.tables[PATH]
    return {
        int(key): Row(tuple(values.tolist()), *(int(c[i]) for c in table.sync.columns().values()))
        for i, (key, values) in enumerate(zip(table.keys, table.rows.values, strict=True))
    }


@st.composite
def days(draw: st.DrawFn) -> list[Model]:
    """A model on some days: keys come, learn, go and come back."""
    models = [Model(day=10)]
    keys = st.integers(-5, 14) | st.sampled_from([-(2**63), 2**63 - 1])
    for _ in range(draw(st.integers(1, 5))):
        rows = {key: dataclasses.replace(row) for key, row in models[-1].rows.items()}
        day = models[-1].day + draw(st.integers(0, 3))
        for key in draw(st.sets(keys, max_size=4)):
            rows.pop(key, None)
        for key in draw(st.lists(keys, max_size=12)):
            row = rows.get(key) or Row((), 0, day, abs(key) % len(FIELDS))
            value = draw(st.integers(-100, 100))
            rows[key] = dataclasses.replace(
                row, values=(float(value), float(key % 100), 0.0), updates=row.updates + 1
            )
        order = sorted(rows, reverse=draw(st.booleans()))
        models.append(
            Model(day, {key: rows[key] for key in order}, draw(st.sampled_from([0.0, 1.0])), day)
        )
    return models


policies = st.builds(
    SyncPolicy,
    min_updates=st.integers(1, 4),
    max_age_days=st.none() | st.integers(0, 4),
    max_rows_per_field=st.none() | st.integers(1, 4),
)


@given(days(), policies)
def test_a_chain_serves_what_the_policy_says(models: list[Model], policy: SyncPolicy) -> None:
    first, *later = models
    served = version(first)
    rows = as_dict(served)
    for number, model in enumerate(later, 1):
        candidate = version(model)
        delta, counts = make_delta(served, candidate, policy, number=99, where="candidate")
        before, rows = rows, expected(rows, model, policy)
        served = delta.apply(served, "served")
        assert as_dict(served) == rows
        assert counts.served == len(rows)
        assert counts.changed == sum(before.get(k, rows[k]) != rows[k] for k in rows)
        assert counts.new == len(rows.keys() - before.keys())
        assert counts.removed == len(before.keys() - rows.keys())
        late = {k for k, row in model.rows.items() if k not in rows or rows[k].values != row.values}
        assert counts.waiting + counts.over == len(late)
        # All but the rows is the candidate's.
        assert served.graph == candidate.graph and served.place == Place(model.day, number, 99)
        np.testing.assert_equal(served.variables, candidate.variables)
        np.testing.assert_array_equal(
            served.tables[PATH].shared.values, candidate.tables[PATH].shared.values
        )


@given(days(), st.sampled_from(["float32", "float16", "int8"]))
def test_a_chain_that_takes_all_is_the_full_export(models: list[Model], kind: str) -> None:
    served = version(models[0], kind)
    for model in models[1:]:
        candidate = version(model, kind)
        delta, _ = make_delta(served, candidate, SyncPolicy(), number=1, where="candidate")
        served = delta.apply(served, "served")
        made, whole = served.tables[PATH], candidate.tables[PATH]
        order, other = np.argsort(made.keys), np.argsort(whole.keys)
        np.testing.assert_array_equal(made.keys[order], whole.keys[other])
        assert not made.rows.take(order).differ(whole.rows.take(other)).any()


def two_days() -> tuple[Version, Version]:
    first = Model(1, {1: Row((1.0, 0.0, 0.0), 5, 1, 0), 2: Row((2.0, 0.0, 0.0), 5, 1, 1)})
    second = Model(
        2, {2: Row((3.0, 0.0, 0.0), 6, 1, 1), 3: Row((4.0, 0.0, 0.0), 9, 2, 0)}, weight=1
    )
    return version(first), version(second)


def one_delta() -> tuple[Version, Delta]:
    parent, candidate = two_days()
    delta, _ = make_delta(
        parent,
        candidate,
        SyncPolicy(),
        number=5,
        where="candidate",
        extra={"warm_up": b"\0\1", "deep/file": b""},
        about={"card": {"days": [1, None]}},
    )
    return parent, delta


def test_a_file_gives_the_same_delta(tmp_path: Path) -> None:
    parent, delta = one_delta()
    size = write_delta(delta, tmp_path / "new" / delta.name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["5-001.delta"]
    assert (tmp_path / "new" / delta.name).stat().st_size == size
    again = read_delta(tmp_path / "new" / delta.name)
    assert again.extra == delta.extra and again.about == delta.about
    assert again.apply(parent, "").digest() == delta.apply(parent, "").digest()
    assert set(again.variables) == {"dense", "statistics"}  # `constant` did not change.


@given(st.data())
def test_a_damaged_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("delta") / "d"
    write_delta(one_delta()[1], path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        place = data.draw(st.integers(0, 100) | st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(DeltaRefusedError, match="no delta|of format|damaged"):
        read_delta(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeltaRefusedError, match="no such file"):
        read_delta(tmp_path / "none")
    with pytest.raises(ValueError, match="paths under"):
        bad = dataclasses.replace(one_delta()[1], extra={"../up": b""})
        write_delta(bad, tmp_path / "bad")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["../../up", "/abs/path", "a/../../up", "", ".", "a\0b", "./embedding_sync.npz"]
)
def test_a_delta_that_writes_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also where its checksum is right."""
    spoilt = dataclasses.replace(one_delta()[1], extra={name: b""})
    with monkeypatch.context() as careless:
        careless.setattr(delta_file, "_stays_below", lambda name: True)
        write_delta(spoilt, tmp_path / "d")
    with pytest.raises(DeltaRefusedError, match="expected paths under assets.extra/"):
        read_delta(tmp_path / "d")


def test_a_sealed_file_that_no_export_writes_is_refused_in_words(tmp_path: Path) -> None:
    """As anyone can seal it: without one of its members, or of its manifest's keys."""
    parent, delta = one_delta()
    members = dict(delta_file._members(delta))
    manifest = json.loads(members["manifest.json"])
    strange = [{**members, "manifest.json": b"[]"}, {**members, "manifest.json": b"{"}]
    strange += [{k: v for k, v in members.items() if k != name} for name in members]
    for key in manifest:
        less = {k: v for k, v in manifest.items() if k != key}
        strange.append({**members, "manifest.json": json.dumps(less).encode()})
    for place in ({"whole": "../../up"}, {"sequence": 1.5}, {"day": None}, {"more": 1}):
        other = {**manifest, "place": {**manifest["place"], **place}}
        strange.append({**members, "manifest.json": json.dumps(other).encode()})
    for content in strange:
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        packed = body.getvalue()
        (tmp_path / "d").write_bytes(delta_file._seal(packed, None) + packed)
        with pytest.raises(DeltaRefusedError, match="found what no export writes .*out where it"):
            read_delta(tmp_path / "d")
    wider = Rows(np.zeros([len(FIELDS), D + 1], np.float32))
    for tables in ({}, {PATH: dataclasses.replace(delta.tables[PATH], shared=wider)}):
        with pytest.raises(DeltaRefusedError, match="found rows that do not fit the version"):
            dataclasses.replace(delta, tables=tables).apply(parent, "served")


def test_order_and_parent() -> None:
    parent, candidate = two_days()
    first, _ = make_delta(parent, candidate, SyncPolicy(), number=5, where="candidate")
    one = first.apply(parent, "one")
    third = version(Model(3, {3: Row((5.0, 0.0, 0.0), 10, 2, 0)}))
    second, _ = make_delta(one, third, SyncPolicy(), number=6, where="candidate")
    assert (first.name, second.name) == ("5-001.delta", "5-002.delta")
    with pytest.raises(DeltaRefusedError, match="one that is a whole version; .* 1 deltas after"):
        second.apply(parent, "served")
    two = second.apply(one, "two")
    assert first.apply(two, "served") is second.apply(two, "served") is None
    # As earlier releases left it.
    unknown = dataclasses.replace(two, applied=())
    assert second.apply(unknown, "served") is None
    with pytest.raises(DeltaRefusedError, match="2 deltas after whole version 5; expected .* in"):
        first.apply(unknown, "served")
    again, _ = make_delta(parent, third, SyncPolicy(), number=5, where="candidate")
    with pytest.raises(DeltaRefusedError, match="2 deltas after whole version 5; expected .* in"):
        again.apply(two, "served")
    damaged = dataclasses.replace(two, graph=b"graph of daz 3")
    for delta in (first, second, again):
        with pytest.raises(DeltaRefusedError, match="served: found what is damaged"):
            delta.apply(damaged, "served")
    other = dataclasses.replace(parent, variables={**parent.variables, "dense": np.ones([2, 2])})
    with pytest.raises(DeltaRefusedError, match="another one, a whole version too, of other cont"):
        first.apply(other, "served")
    cold = dataclasses.replace(parent, lineage=dataclasses.replace(LINEAGE, cold_starts=(8,)))
    with pytest.raises(DeltaRefusedError, match="another cold start; .* Push the whole version"):
        first.apply(cold, "served")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lineage": dataclasses.replace(LINEAGE, transform_graph="x")}, "another transform graph"),
        ({"lineage": dataclasses.replace(LINEAGE, fields=(("user",),))}, "other embedded columns"),
        ({"lineage": dataclasses.replace(LINEAGE, cold_starts=(8,))}, "another cold start"),
        ({"place": Place(2, 1, 5)}, "1 deltas after whole version 5; expected a whole version"),
        ({"place": Place(0)}, "days up to 0; expected one no older than the served one, 1"),
        ({"variables": {"other": np.zeros(1)}}, "other variables: constant float32"),
        ({"assets": {}}, "other files under assets/"),
    ],
)
def test_what_has_not_enough_in_common(change: dict[str, object], message: str) -> None:
    parent, candidate = two_days()
    candidate = dataclasses.replace(candidate, **change)  # type: ignore[arg-type]
    with pytest.raises(DeltaRefusedError, match=message) as refused:
        make_delta(parent, candidate, SyncPolicy(), number=5, where="candidate")
    assert str(refused.value).endswith("Push the whole version.")


def test_rows_kept_in_another_format_are_refused() -> None:
    first, second = Model(1, {1: Row((1.0, 0.0, 0.0), 5, 1, 0)}), Model(2)
    with pytest.raises(DeltaRefusedError, match="int8 x 3 with scales"):
        make_delta(version(first), version(second, "int8"), SyncPolicy(), number=5, where="x")


def test_a_row_that_comes_back_counts_from_its_return() -> None:
    # Its five updates before it went are of another row.
    parent = version(Model(1, {1: Row((1.0, 0.0, 0.0), 5, 1, 0)}))
    for updates in (3, 8):
        back = version(Model(2, {1: Row((9.0, 0.0, 0.0), updates, 2, 0)}))
        for least, taken in [(updates, 1), (updates + 1, 0)]:
            _, counts = make_delta(parent, back, SyncPolicy(least), number=5, where="x")
            assert (counts.changed, counts.waiting) == (taken, 1 - taken)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_a_version_is_what_it_was_when_written_and_read(kind: str, tmp_path: Path) -> None:
    keys = [-(2**63), 0, 5]
    rows = {key: Row((float(i), 0.5, -3.0), i, 1, 0, 1) for i, key in enumerate(keys)}
    empty, full = version(Model(1), kind), version(Model(2, rows, 1.0, 2.0), kind, Place(2, 3, 99))
    full = dataclasses.replace(full, applied=("a", "b", "c"))
    for i, made in enumerate((empty, full)):
        write_version(made, tmp_path / str(i))
        again = read_version(tmp_path / str(i))
        assert again.applied == made.applied
        assert again.digest() == made.digest() and again.place == made.place
        assert again.tables[PATH].keys.tolist() == made.tables[PATH].keys.tolist()
    assert empty.digest() != full.digest()
