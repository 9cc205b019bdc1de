"""A disk of a few KiB."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_REMOUNT, _DETACH = 32, 2


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """Mounts a disk, in memory, on a new folder; skips the test where that is not allowed.

    Args:
      folder: Where it is mounted.
      size: Its bytes; the kernel rounds them up to whole pages.

    Yields:
      What gives it another size.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    name = os.fsencode(folder)

    def mount(size: int, flags: int = _REMOUNT) -> None:
        if libc.mount(b"none", name, b"tmpfs", flags, f"size={size}".encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    folder.mkdir()
    try:
        mount(size, flags=0)
    except PermissionError as error:
        pytest.skip(f"no disk can be mounted here ({error}); root may")
    try:
        yield mount
    finally:
        libc.umount2(name, _DETACH)
