"""What a kill or a full disk does to deltas, whatever the moment."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_models.disk_space import DiskFullError
from serving import versions
from serving.delta import (
    SyncPolicy,
    make_delta,
    push_delta,
    read_delta,
    read_version,
    write_delta,
    write_version,
)

from ...file_calls import Ended, fill_before, kill_before
from ...small_disk import small_disk
from .test_delta import one_delta, two_days

STOPPED = pytest.mark.parametrize(
    "stopped", [kill_before, pytest.param(fill_before, marks=pytest.mark.slow)]
)


def make(parent: Path, candidate: Path, out: Path) -> None:
    delta, _ = make_delta(
        read_version(parent), read_version(candidate), SyncPolicy(), number=5, where="candidate"
    )
    write_delta(delta, out / delta.name)


def apply(file: Path, base: Path) -> None:
    push_delta(read_delta(file), base, keep=1, describe=lambda number, folder: {"card": "what"})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions of two days; a base folder with the first; the delta between them."""
    folder = tmp_path_factory.mktemp("begun")
    for name, version in zip(("one", "two"), two_days(), strict=True):
        write_version(version, folder / name)
    versions.push(folder / "one", folder / "base", keep=1)
    make(folder / "one", folder / "two", folder / "out")
    return folder


def check_applied(begun: Path, base: Path) -> None:
    """The delta's version is there, and no other."""
    delta = read_delta(begun / "out" / "5-001.delta")
    number, folder = versions.latest(base) or (0, base)
    assert sorted(os.listdir(base)) == [".push.lock", str(number)]
    assert read_version(folder).digest() == delta.result
    assert (folder / "assets.extra" / "card").read_text() == "what"


def check_said(error: str) -> None:
    assert error.splitlines()[-1].startswith("keras_models.disk_space.DiskFullError: /")


@STOPPED
def test_made_whatever_the_moment(
    stopped: Callable[..., Ended], begun: Path, tmp_path: Path
) -> None:
    expected = read_delta(begun / "out" / "5-001.delta").result
    for moment in itertools.count(1):
        out = tmp_path / str(moment)
        arguments = begun / "one", begun / "two", out
        ended = stopped(moment, make, *arguments)
        if (out / "5-001.delta").exists():
            assert read_delta(out / "5-001.delta").result == expected
        if ended.error:
            check_said(ended.error)
            assert not out.exists() or not list(out.iterdir())
        make(*arguments)
        assert [file.name for file in out.iterdir()] == ["5-001.delta"]
        assert read_delta(out / "5-001.delta").result == expected
        if not ended.killed and not ended.error:
            break
    assert moment > 3


@STOPPED
def test_applied_whatever_the_moment(
    stopped: Callable[..., Ended], begun: Path, tmp_path: Path
) -> None:
    before = read_version(begun / "one").digest()
    after = read_delta(begun / "out" / "5-001.delta").result
    for moment in itertools.count(1):
        base = tmp_path / str(moment)
        shutil.copytree(begun / "base", base)
        arguments = begun / "out" / "5-001.delta", base
        ended = stopped(moment, apply, *arguments)
        served = [read_version(base / str(number)).digest() for number in versions.numbers(base)]
        assert served in ([before], [before, after], [after])
        if ended.error:
            check_said(ended.error)
            assert not list(base.glob(".tmp-*"))
        apply(*arguments)
        check_applied(begun, base)
        if not ended.killed and not ended.error:
            break
    assert moment > 20


def test_on_a_disk_that_fills(begun: Path, tmp_path: Path) -> None:
    """Of 20 sizes, from just what is there on."""
    full = {"make": 0, "apply": 0}
    file = begun / "out" / "5-001.delta"
    sizes = [path.stat().st_size for path in (begun / "base").rglob("*") if path.is_file()]
    taken = sum(-(-size // 4096) for size in sizes)
    for pages in range(taken, taken + 20):
        disk = tmp_path / str(pages)
        with small_disk(disk, pages * 4096) as resize:
            shutil.copytree(begun / "base", disk / "base")
            for name, work in {
                "make": lambda disk=disk: make(begun / "one", begun / "two", disk / "out"),
                "apply": lambda disk=disk: apply(file, disk / "base"),
            }.items():
                try:
                    work()
                except DiskFullError as error:
                    full[name] += 1
                    assert f"free on the disk at {disk}); expected room for" in str(error)
                    left = {path.name for path in (*disk.glob("*/.*.tmp"), *disk.glob("*/.tmp-*"))}
                    assert not left
                    resize(1 << 20)
                    work()
            assert read_delta(disk / "out" / file.name).result == read_delta(file).result
            check_applied(begun, disk / "base")
    assert 0 < full["make"] < 20 and 0 < full["apply"] < 20


def test_a_write_that_fails_leaves_the_delta_before_it(tmp_path: Path) -> None:
    delta = one_delta()[1]
    with small_disk(tmp_path / "disk", 4096) as resize:
        file = tmp_path / "disk" / delta.name
        file.write_bytes(b"before")
        with pytest.raises(DiskFullError, match="expected room for a delta"):
            write_delta(delta, file)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        assert file.read_bytes() == b"before"
        resize(1 << 20)
        write_delta(delta, file)
        assert read_delta(file).result == delta.result
