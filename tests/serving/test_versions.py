from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_models.disk_space import DiskFullError
from serving import versions

from ..file_calls import Ended, fill_before, kill_before
from ..small_disk import small_disk


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_model(folder, b"first")
    return folder


def write_model(folder: Path, content: bytes) -> None:
    (folder / "variables").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(content)
    (folder / "variables" / "rows").write_bytes(content * 1000)
    (folder / "variables" / "digest").write_text(hashlib.sha256(content).hexdigest())


def is_whole(version: Path) -> bool:
    content = (version / "saved_model.pb").read_bytes()
    rows = (version / "variables" / "rows").read_bytes()
    digest = (version / "variables" / "digest").read_text()
    return rows == content * 1000 and digest == hashlib.sha256(content).hexdigest()


def visible(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir() if not path.name.startswith("."))


def test_a_push_is_a_copy_numbered_by_the_time(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "serving" / "ranker"
    before = int(time.time())
    version = versions.push(model, base, keep=2)
    assert before <= version <= time.time()
    assert versions.latest(base) == (version, base / str(version))
    assert visible(base) == [str(version)]
    assert is_whole(base / str(version))
    assert is_whole(model)


def test_numbers_only_grow(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    ahead = int(time.time()) + 1_000_000
    write_model(base / str(ahead), b"from a clock that ran ahead")
    assert versions.push(model, base, keep=5) == ahead + 1
    write_model(model, b"second")
    assert versions.push(model, base, keep=5) == ahead + 2


def test_the_newest_version_is_not_pushed_twice(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    first = versions.push(model, base, keep=5)
    assert versions.push(model, base, keep=5) == first
    assert visible(base) == [str(first)]
    (model / "variables" / "rows").write_bytes(b"Second"[:5] * 1000)
    second = versions.push(model, base, keep=5)
    assert second > first, "same names and sizes, one file's bytes differ"
    (model / "variables" / "more").write_bytes(b"")
    assert versions.push(model, base, keep=5) > second


def test_what_describes_a_version_goes_with_it_and_is_not_the_model(
    model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "requests").write_bytes(b"warm-up")

    def describe(version: int) -> dict[str, str]:
        return {"card.json": f"version {version}, {time.time_ns()}"}

    first = versions.push(model, base, keep=5, describe=describe)
    extra = base / str(first) / "assets.extra"
    card = (extra / "card.json").read_text()
    assert card.startswith(f"version {first}, ")
    assert (extra / "requests").read_bytes() == b"warm-up"
    assert not (model / "assets.extra" / "card.json").exists()
    assert versions.push(model, base, keep=5, describe=describe) == first
    assert (extra / "card.json").read_text() == card, "the version stays as it is"
    (model / "assets.extra" / "requests").write_bytes(b"another")
    second = versions.push(model, base, keep=5, describe=describe)
    assert second > first and is_whole(base / str(second))


def test_the_last_versions_are_kept(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    pushed = []
    for content in (b"1", b"2", b"3", b"4", b"5"):
        write_model(model, content)
        pushed.append(versions.push(model, base, keep=3))
    assert visible(base) == [str(version) for version in pushed[2:]]
    write_model(model, b"6")
    last = versions.push(model, base, keep=1)
    assert visible(base) == [str(last)]
    assert not list(base.glob(".tmp-*"))


def test_order_is_by_number_not_by_text(tmp_path: Path) -> None:
    for name in ("9", "10", "007", "12a", "-11", "11.0"):
        (tmp_path / name).mkdir()
    (tmp_path / "13").write_text("a file")
    assert versions.latest(tmp_path) == (10, tmp_path / "10")


def test_names_are_read_as_tensorflow_serving_reads_them(model: Path, tmp_path: Path) -> None:
    for name in ("7", "007", "00000123", str(2**63), str(2**63 - 1), "-1", "\u0667"):
        (tmp_path / "named" / name).mkdir(parents=True)
    found = versions.folders(tmp_path / "named")
    assert {version: path.name for version, path in found.items()} == {
        7: "7",
        123: "00000123",
        2**63 - 1: str(2**63 - 1),
    }
    # A push knows it for the newest, and takes it away in its turn.
    base = tmp_path / "base"
    write_model(model, b"1")
    shutil.copytree(model, base / "00009999999999")
    assert versions.push(model, base, keep=1) == 9999999999
    write_model(model, b"2")
    assert versions.push(model, base, keep=1) == 10000000000
    assert visible(base) == ["10000000000"]


def test_no_version(tmp_path: Path) -> None:
    assert versions.latest(tmp_path) is None
    assert versions.latest(tmp_path / "absent") is None


def test_bad_arguments(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keep: found 0; expected at least 1"):
        versions.push(model, tmp_path / "base", keep=0)
    with pytest.raises(ValueError, match=r"found no saved_model.pb; expected a SavedModel's"):
        versions.push(tmp_path, tmp_path / "base", keep=1)
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("stopped", [kill_before, fill_before])
def test_a_push_stopped_at_any_moment(
    stopped: Callable[..., Ended], keep: int, model: Path, tmp_path: Path
) -> None:
    """Readers see whole versions, and the same push again ends as if nothing had been."""
    for moment in itertools.count(1):
        base = tmp_path / str(moment)
        for content in (b"first", b"second", b"third"):
            write_model(model, content)
            if content != b"third":
                versions.push(model, base, keep)
        ended = stopped(moment, versions.push, model, base, keep)
        assert len(visible(base)) >= keep and all(is_whole(base / name) for name in visible(base))
        if ended.error:
            assert "DiskFullError: " in ended.error.splitlines()[-1]
            assert not list(base.glob(".tmp-*"))
        last = versions.push(model, base, keep)
        assert (base / str(last) / "saved_model.pb").read_bytes() == b"third"
        assert len(visible(base)) == keep and is_whole(base / str(last))
        assert sorted(os.listdir(base)) == [".push.lock", *visible(base)]
        if not ended.killed and not ended.error:
            break
    assert moment > 8


def test_a_push_to_a_disk_that_fills(model: Path, tmp_path: Path) -> None:
    """Of 20 sizes; ten pages of rows and two more files take twelve."""
    write_model(model, b"forty bytes " * 3 + b"each")
    full = []
    for pages in range(1, 21):
        base = tmp_path / str(pages) / "base"
        with small_disk(base.parent, 4096 * pages) as resize:
            try:
                versions.push(model, base, keep=1)
            except DiskFullError as error:
                full.append(pages)
                assert os.listdir(base) == [".push.lock"]
                assert re.fullmatch(
                    f"{base}: found no room .No space left on device; 0.0 MiB free on the disk at "
                    rf"{base.parent}.; expected room for version \d+. Make room there and .*",
                    str(error),
                )
            resize(1 << 20)
            version = versions.push(model, base, keep=1)
            assert is_whole(base / str(version))
            assert sorted(os.listdir(base)) == [".push.lock", str(version)]
    assert full == list(range(1, 12))


def test_readers_see_only_whole_versions(tmp_path: Path) -> None:
    base, model = tmp_path / "base", tmp_path / "model"
    write_model(model, b"0")
    versions.push(model, base, keep=3)
    seen: list[int] = []
    broken: list[Path] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = versions.latest(base)
            if found is None:
                broken.append(base)
                continue
            try:
                whole = is_whole(found[1])
            except FileNotFoundError:
                # A reader slower than three pushes: its version left, as a whole.
                whole = found[0] not in versions.numbers(base)
            if whole:
                seen.append(found[0])
            else:
                broken.append(found[1])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for content in range(1, 21):
            write_model(model, str(content).encode())
            versions.push(model, base, keep=3)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not broken
    assert len(set(seen)) > 1


def test_pushes_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    base = tmp_path / "base"
    models = [tmp_path / f"model-{i}" for i in range(4)]
    for folder in models:
        write_model(folder, folder.name.encode())
    pushed: list[int] = []
    pushers = [
        threading.Thread(target=lambda folder=folder: pushed.append(versions.push(folder, base, 8)))
        for folder in models
    ]
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join()
    assert len(set(pushed)) == 4
    assert visible(base) == sorted(map(str, pushed))
    assert all(is_whole(base / str(version)) for version in pushed)
