"""`equipoise delta` on version folders with made-up models."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from serving import versions
from serving.delta import Version, read_version, write_version
from serving.delta.sync_file import Lineage, Place, RowSync
from serving.delta.table import Rows, Table
from tfx_pipeline.cli import app
from tfx_pipeline.model_card import card_files, model_card

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


def test_several_at_once_and_again(base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(base, copy)
    for day in (2, 3):
        version = write(tmp_path / str(day), day, {})
        assert run("export", base, version, "--out", tmp_path).exit_code == 0
        assert run("apply", base, *sorted(tmp_path.glob(f"*-{day - 1:03d}.delta"))).exit_code == 0
    one, two = sorted(tmp_path.glob("*.delta"))
    assert run("apply", copy, one, two).exit_code == 0
    newest = [read_version(folder / str(versions.numbers(folder)[-1])) for folder in (base, copy)]
    assert newest[0].digest() == newest[1].digest()
    again = run("apply", copy, two)
    assert again.exit_code == 0 and "already" in again.stdout
    refused = run("apply", copy, one)
    assert refused.exit_code == 2 and "Apply the deltas of a chain in order" in refused.stderr


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
