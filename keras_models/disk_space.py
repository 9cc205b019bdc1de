"""What a disk without room says: which disk, how much is free, what was being written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REASONS = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    # SQLite's.
    "database or disk is full",
)


class DiskFullError(OSError):
    """A disk has no room for what was being written."""


@contextmanager
def room_for(what: str, path: str | Path) -> Iterator[None]:
    """Says what was being written where, if the disk is full.

    Args:
      what: What is written, for the message: "a checkpoint".
      path: Its file or folder.

    Raises:
      DiskFullError: where what is done within found no room, in Python or in C++.
    """
    try:
        yield
    except Exception as error:
        full = disk_full(error, what, path)
        if full is None or full is error:
            raise
        raise full from error


def disk_full(error: BaseException, what: str, path: str | Path) -> DiskFullError | None:
    """An error in words that say which disk is full; None where it is another one.

    Args:
      error: It, or what it came of, is looked at.
      what: What was written, for the message.
      path: Its file or folder.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, DiskFullError):
            return found
        text = os.strerror(found.errno) if isinstance(found, OSError) and found.errno else ""
        # TensorFlow, `shutil` and pyarrow hand the system's text on, as errors of their own.
        for reason in _REASONS:
            if reason in f"{text} {found}":
                return DiskFullError(_message(reason, what, Path(path)))
        found = found.__cause__ or found.__context__
    return None


def _message(reason: str, what: str, path: Path) -> str:
    there = path.absolute()
    while not there.exists():
        there = there.parent
    disk = os.statvfs(there)
    free = f"{disk.f_bavail * disk.f_frsize / (1 << 20):,.1f} MiB"
    if disk.f_files and not disk.f_favail:
        free += " and no inodes"
    mount = there
    while not mount.is_mount():
        mount = mount.parent
    return (
        f"{path}: found no room ({reason}; {free} free on the disk at {mount}); expected room "
        f"for {what}. Make room there and run it again."
    )
