"""`equipoise delta` on version folders with made-up models."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from serving import versions
from serving.delta import Version, read_delta, read_version, write_delta, write_version
from serving.delta.sync_file import Lineage, Place, RowSync
from serving.delta.table import Rows, Table
from tfx_pipeline.cli import app
from tfx_pipeline.model_card import card_files, model_card

from ...small_disk import small_disk
from ..outcomes import make_cell, make_config

N, D = 100, 4


def write(folder: Path, day: int, delta: dict[str, Any] | None, cold_start: int = 1) -> Path:
    """A version as a run pushes it: half of the rows learn a day, once more each than the last."""
    version = Version(
        graph=b"graph",
        object_graph=b"objects",
        variables={"dense": np.full([3], day, np.float32)},
        tables={
            "examples/tables/0": Table(
                np.arange(N),
                Rows(np.where(np.arange(N * D).reshape(N, D) < N * D / 2, 0, day).astype("f4")),
                RowSync(*np.array([[i * day, 1, i % 2, day] for i in range(N)], np.int32).T.copy()),
                Rows(np.zeros([2, D], np.float32)),
            )
        },
        assets={},
        lineage=Lineage((cold_start,), (("user", "item"),), "of the graph"),
        place=Place(day),
    )
    write_version(version, folder)
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_text(f"of day {day}")
    config = make_config({"click": "binary"}, ["feed"])
    serving = {"keep_versions": 2} if delta is None else {"keep_versions": 2, "delta": delta}
    config = config.model_copy(update={"serving": type(config.serving).model_validate(serving)})
    card = model_card(
        day,
        config,
        model_dir=str(folder),
        transform_graph=str(folder),
        counts={"train": 600, "valid": 100, "eval": 200},
        verdict={
            "baseline_version": None,
            "metrics": [
                make_cell(
                    "click", "*", "binary", np.random.default_rng(1), rows=500, baseline=False
                )
            ],
            "not_judged": [],
        },
        check={},
    )
    for name, text in card_files(card).items():
        (folder / "assets.extra" / name).write_text(text)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with the version of day 1."""
    versions.push(write(tmp_path / "1", 1, {}), tmp_path / "served", keep=2)
    return tmp_path / "served"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["delta", *map(str, arguments)])


def test_a_chain(base: Path, tmp_path: Path) -> None:
    (first,) = versions.numbers(base)
    # Rows 50 to 99 differ, and row i has i updates a day. On day 2 those from 60 have enough; the
    # rows of each field that have most go. On day 3 these have the updates of a day, others of two.
    left = {2: "10 differ and wait, 20 are above", 3: "0 differ and wait, 30 are above"}
    for day in (2, 3):
        version = write(tmp_path / str(day), day, {"min_updates": 60, "max_rows_per_field": 10})
        done = run("export", base, version, "--out", tmp_path / "deltas")
        assert done.exit_code == 0, done.output
        assert f"20 rows change, 0 are new, 0 go; {left[day]}" in done.stdout
        file = tmp_path / "deltas" / f"{first}-{day - 1:03d}.delta"
        found = re.search(r"delta for version (\d+): ([0-9.]+) MiB, (\d+)% of", done.stdout)
        assert found is not None and int(found[1]) == versions.numbers(base)[-1]
        assert float(found[2]) == pytest.approx(file.stat().st_size / (1 << 20), abs=0.006)
        done = run("apply", base, file)
        assert done.exit_code == 0 and f"version {versions.numbers(base)[-1]}" in done.stdout
    # `keep_versions` of the config.
    assert len(versions.numbers(base)) == 2
    folder = base / str(versions.numbers(base)[-1])
    made = read_version(folder)
    assert made.place == Place(3, 2, first)
    assert made.variables["dense"].tolist() == [3, 3, 3]
    rows = made.tables["examples/tables/0"].rows.values[:, 0]
    assert rows.tolist() == [0] * 50 + [1] * 10 + [3] * 20 + [2] * 20
    assert (folder / "assets.extra" / "tf_serving_warmup_requests").read_text() == "of day 3"
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    assert card["version"] == int(folder.name) and card["delta"]["sequence"] == 2
    assert card["delta"]["rows"]["changed"] == 20 and "saved_model.pb" in card["sha256"]["model"]
    text = (folder / "assets.extra" / "model_card.md").read_text()
    assert f"number 2 after the whole version {first}" in text and "30 that differ" in text


def chain(base: Path, folder: Path, days: Iterable[int], *options: object) -> list[Path]:
    """Deltas of days, each applied before the next is made."""
    for day in days:
        version = write(folder / str(day), day, {})
        done = run("export", base, version, "--out", folder / "deltas", *options)
        assert done.exit_code == 0, done.output
        newest = sorted((folder / "deltas").glob("*.delta"))[-1]
        assert run("apply", base, newest, *options).exit_code == 0
    return sorted((folder / "deltas").glob("*.delta"))


def test_all_of_a_chain_day_after_day(base: Path, tmp_path: Path) -> None:
    """`apply FOLDER *.delta`, on hosts that have none, some and all of them."""
    hosts = [tmp_path / "host_0", tmp_path / "host_1"]
    for host in hosts:
        shutil.copytree(base, host)
    deltas = chain(base, tmp_path, (2, 3, 4))
    assert len(deltas) == 3
    assert run("apply", hosts[1], deltas[0]).exit_code == 0
    for number, host in enumerate(hosts):
        done = run("apply", host, *deltas)
        assert done.exit_code == 0, done.output
        assert done.stdout.count("applied already") == number
    expected = read_version(base / str(versions.numbers(base)[-1]))
    for host in (base, *hosts):
        before = versions.numbers(host)
        again = run("apply", host, *deltas)
        assert again.exit_code == 0 and again.stdout.count("applied already") == 3
        assert f"{deltas[0].name}: applied already, up to {before[-1]}" in again.stdout
        assert versions.numbers(host) == before
        newest = read_version(host / str(before[-1]))
        assert newest.digest() == expected.digest() and newest.place.sequence == 3
        # Its three results, in order; the last is what is there.
        assert newest.applied == tuple(read_delta(file).result for file in deltas)
    # A whole push ends the chain.
    versions.push(write(tmp_path / "5", 5, {}), base, keep=2)
    refused = run("apply", base, *deltas)
    assert refused.exit_code == 2 and "found another one, a whole version too" in refused.stderr


def test_signed_deltas(base: Path, tmp_path: Path) -> None:
    host, key, other = tmp_path / "host", tmp_path / "key", tmp_path / "other"
    shutil.copytree(base, host)
    key.write_text("k" * 32 + "\n")
    other.write_text("o" * 32 + "\n")
    (signed,) = chain(base, tmp_path, (2,), "--key", key)
    # Worked by the standard library's own words: the line up to the signature is what is signed.
    line, _, packed = signed.read_bytes().partition(b"\n")
    said, signature = line.rsplit(b" ", 1)
    assert said == f"equipoise-delta 2 {hashlib.sha256(packed).hexdigest()}".encode()
    assert signature == hmac.new(b"k" * 32, said, "sha256").hexdigest().encode()
    plain = tmp_path / "plain.delta"
    plain.write_bytes(f"equipoise-delta 1 {hashlib.sha256(packed).hexdigest()}\n".encode() + packed)

    def refused(*arguments: object) -> str:
        before = versions.numbers(host)
        done = run("apply", host, *arguments)
        assert done.exit_code == 2 and versions.numbers(host) == before
        words = " ".join(done.stderr.split())
        assert "k" * 32 not in words and "o" * 32 not in words
        return words

    assert "found an unsigned delta; expected one signed" in refused(plain, "--key", key)
    assert "found a signature by another key; exp" in refused(signed, "--key", other)
    forged = tmp_path / "forged.delta"
    forged.write_bytes(
        f"equipoise-delta 2 {hashlib.sha256(packed).hexdigest()} {'0' * 64}\n".encode() + packed
    )
    assert "found a signature by another key" in refused(forged, "--key", key)
    for format_, rest in (("2", ""), ("1", f" {'0' * 64}")):
        text = f"equipoise-delta {format_} {hashlib.sha256(packed).hexdigest()}{rest}\n"
        forged.write_bytes(text.encode() + packed)
        assert "found a damaged delta" in refused(forged)
    assert "key2: found No such file" in refused(signed, "--key", tmp_path / "key2")
    (tmp_path / "short").write_text("k" * 31 + "\n")
    assert "short: found 31 bytes; expected a key of 32" in refused(
        signed, "--key", tmp_path / "short"
    )

    done = run("apply", host, signed)
    assert done.exit_code == 0 and f"not verified {signed.name} is signed" in done.stdout
    again = run("apply", host, signed, "--key", key)
    assert again.exit_code == 0 and "not verified" not in again.stdout
    assert "applied already" in run("apply", host, plain).stdout


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index"])
def test_a_damaged_version_is_refused_in_words(base: Path, tmp_path: Path, file: str) -> None:
    host = tmp_path / "host"
    shutil.copytree(base, host)
    deltas = chain(base, tmp_path, (2, 3))
    for folder, arguments in (
        (host, ("apply", host, *deltas)),
        (base, ("apply", base, *deltas)),
        (base, ("export", base, write(tmp_path / "4", 4, {}), "--out", tmp_path / "out")),
    ):
        number = versions.numbers(folder)[-1]
        damaged = folder / str(number) / file
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
        done = run(*arguments)
        assert done.exit_code == 2 and versions.numbers(folder)[-1] == number
        words = " ".join(done.stderr.split())
        assert f"{folder}/{number}: {file}: found a damaged file; expected SHA-256" in words
        assert "Copy it again from a host where it is whole" in words
    assert not (tmp_path / "out").exists()


def test_a_file_from_elsewhere_stays_in_its_folder(base: Path, tmp_path: Path) -> None:
    """The name of a delta is of what the parent's sync file says."""
    file = versions.latest(base)[1] / "assets.extra" / "embedding_sync.npz"
    with np.load(file) as found:
        arrays = dict(found)
    header = json.loads(str(arrays["header"]))
    header["place"] = {"day": 1, "sequence": 1, "whole": "../../up"}
    np.savez(file, **{**arrays, "header": np.array(json.dumps(header))})
    card = versions.latest(base)[1] / "assets.extra" / "model_card.json"
    card.unlink()
    done = run("export", base, write(tmp_path / "2", 2, {}), "--out", tmp_path / "deltas")
    assert done.exit_code == 2 and "embedding_sync.npz: found what cannot be read" in done.stderr
    assert not (tmp_path / "deltas").exists() and not list(tmp_path.rglob("up*"))


def test_a_card_of_another_release_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "host")
    (file,) = chain(base, tmp_path, (2,))
    delta = read_delta(file)
    card = dict(delta.about["card"])
    for strange in ({}, {"card": None}, {"card": {**card, "metrics": [{}]}, "rows": {}}):
        write_delta(dataclasses.replace(delta, about=strange), file)
        done = run("apply", tmp_path / "host", file)
        assert (
            done.exit_code == 2 and "found a model card that is of another release" in done.stderr
        )
        assert len(list((tmp_path / "host").iterdir())) == 2


def test_a_full_disk_is_named(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "host")
    (file,) = chain(base, tmp_path, (2,))
    sizes = [path.stat().st_size for path in (tmp_path / "host").rglob("*") if path.is_file()]
    taken = sum(-(-size // 4096) for size in sizes)
    with small_disk(tmp_path / "disk", 4096 * (taken + 4)) as resize:
        shutil.copytree(tmp_path / "host", tmp_path / "disk" / "base")
        done = run("apply", tmp_path / "disk" / "base", file)
        assert done.exit_code == 1 and len(versions.numbers(tmp_path / "disk" / "base")) == 1
        assert done.stderr.startswith(f"error {tmp_path / 'disk' / 'base'}: found no room (No sp")
        assert len(done.stderr.splitlines()) == 1
        resize(1 << 20)
        assert run("apply", tmp_path / "disk" / "base", file).exit_code == 0


def test_bad_input(base: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        before = versions.numbers(base)
        done = run(*arguments)
        assert done.exit_code == 2 and not (tmp_path / "out").exists()
        assert versions.numbers(base) == before
        return " ".join(done.stderr.split())

    out = ("--out", tmp_path / "out")
    plain, cold = write(tmp_path / "2", 2, None), write(tmp_path / "3", 2, {}, cold_start=2)
    assert "found no version" in refused("export", tmp_path / "nowhere", cold, *out)
    assert "model_card.json found no such file" in refused("export", base, tmp_path / "4", *out)
    assert "serving.delta of its config found nothing" in refused("export", base, plain, *out)
    assert "found a model of another cold start" in refused("export", base, cold, *out)
    (tmp_path / "file").write_text("what?")
    assert "found what is no delta" in refused("apply", base, tmp_path / "file")
    (file,) = chain(base, tmp_path, (5,))
    assert "mistyped: found no such folder" in refused("apply", tmp_path / "mistyped", file)
    assert not (tmp_path / "mistyped").exists()
