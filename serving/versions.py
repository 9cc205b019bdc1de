"""Version folders: what a model server is pointed at.

A base folder holds one folder a version, named by its number. A version is written
beside under a hidden name, which servers skip, and renamed into place when it is
whole and on disk; it leaves the same way. So nobody ever sees half of one, whenever
the writer is killed or the disk is full.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from keras_models.disk_space import room_for

SAVED_MODEL = "saved_model.pb"
"""The file that makes a folder a SavedModel."""

EXTRA = "assets.extra"
"""Folder in a SavedModel, for files that are no part of the model."""

_HIDDEN = ".tmp-"
_LOCK = ".push.lock"


def push(
    model_dir: str | Path,
    base_dir: str | Path,
    keep: int,
    describe: Callable[[int], Mapping[str, str]] | None = None,
) -> int:
    """Copies a SavedModel into the base folder as its newest version.

    The number is the time in Unix seconds, or one more than the newest version where
    that is greater. A model that is, byte for byte, the newest version already, whatever
    describes that one, is not copied again. Pushes into one base folder, from any
    process of the host, wait for each other.

    Args:
      model_dir: Folder of the SavedModel.
      base_dir: Folder of the versions; made when absent.
      keep: Versions to keep, the new one included; older ones are removed.
      describe: Gives texts about the version of a number, to be files under `assets.extra/` of it,
        by their names; servers take no notice of them.

    Returns:
      The model's version number.

    Raises:
      ValueError: if `model_dir` is no SavedModel or `keep` is less than 1.
      DiskFullError: if there is no room for it; nothing of it stays.
    """
    source = Path(model_dir)
    if not (source / SAVED_MODEL).is_file():
        raise ValueError(f"{source}: found no {SAVED_MODEL}; expected a SavedModel's folder")

    def write(version: int, newest: Path | None, beside: Path) -> bool:
        texts = {
            Path(EXTRA, n): text for n, text in (describe(version) if describe else {}).items()
        }
        if newest is not None and _same(source, newest, besides=texts):
            return False
        shutil.copytree(source, beside, copy_function=shutil.copyfile)
        for name, text in texts.items():
            (beside / name).parent.mkdir(exist_ok=True)
            (beside / name).write_text(text, encoding="utf-8")
        return True

    return add(base_dir, keep, write)


def add(base_dir: str | Path, keep: int, write: Callable[[int, Path | None, Path], bool]) -> int:
    """Adds the newest version of a base folder; see `push` for numbers, locks and what is kept.

    Args:
      base_dir: Folder of the versions; made when absent.
      keep: Versions to keep, the new one included; older ones are removed.
      write: Is given the new version's number, the folder of the newest version before it, if any,
        and the folder to write the new one in. Called while nobody else can push. Gives False,
        and writes nothing, where the newest version is already what it would write.

    Returns:
      The newest version's number.

    Raises:
      ValueError: if `keep` is less than 1.
      DiskFullError: if there is no room for it; nothing of it stays.
    """
    base = Path(base_dir)
    if keep < 1:
        raise ValueError(f"keep: found {keep}; expected at least 1, the version that is pushed")
    with _only_pusher(base):
        # Whoever made these no longer holds the lock, so was killed.
        for stale in base.glob(f"{_HIDDEN}*"):
            shutil.rmtree(stale)
        before = folders(base)
        newest = max(before, default=-1)
        version = max(int(time.time()), newest + 1)
        beside = base / f"{_HIDDEN}{version}"
        try:
            with room_for(f"version {version}", base):
                if write(version, before.get(newest), beside):
                    _sync_all(beside)
                    beside.rename(base / str(version))
                    _sync(base)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        # Whoever pushed the newest may have been killed before this.
        now = folders(base)
        for old in list(now)[:-keep]:
            leaving = base / f"{_HIDDEN}{old}"
            now[old].rename(leaving)
            shutil.rmtree(leaving)
    return max(now)


def latest(base_dir: str | Path) -> tuple[int, Path] | None:
    """The newest version.

    Args:
      base_dir: Folder of the versions.

    Returns:
      Its number and folder; None where there is no version, or no base folder.
    """
    return max(folders(base_dir).items(), default=None)


def numbers(base_dir: str | Path) -> list[int]:
    """Numbers of the versions, ascending; none where there is no base folder.

    Args:
      base_dir: Folder of the versions.
    """
    return list(folders(base_dir))


def folders(base_dir: str | Path) -> dict[int, Path]:
    """Folders of the versions by their numbers, ascending; none where there is no base folder.

    As TensorFlow Serving reads the names: 007 is version 7, and of two folders of one number the
    last in the order of their names counts. A number from 2**63 on is none.

    Args:
      base_dir: Folder of the versions.

    Raises:
      OSError: if the base folder cannot be read.
    """
    try:
        with os.scandir(base_dir) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.isascii() and entry.name.isdecimal() and entry.is_dir()
            )
    except FileNotFoundError:
        return {}
    found = {int(name): Path(base_dir, name) for name in names if int(name) < 2**63}
    return dict(sorted(found.items()))


def _same(one: Path, other: Path, besides: Collection[Path]) -> bool:
    """Whether two folders, but for some files, hold the same files with the same bytes."""
    files = [
        sorted(
            {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} - {*besides}
        )
        for folder in (one, other)
    ]
    return files[0] == files[1] and not any(
        filecmp.cmpfiles(one, other, files[0], shallow=False)[1:]
    )


@contextlib.contextmanager
def _only_pusher(base: Path) -> Iterator[None]:
    """Holds the base folder's lock; the system frees it when the holder dies."""
    with room_for("versions", base):
        base.mkdir(parents=True, exist_ok=True)
        lock = open(base / _LOCK, "wb")  # noqa: SIM115 - held until the block ends
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync_all(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            _sync(os.path.join(path, name))
        _sync(path)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
