"""Stops a process at each of its file system calls: a kill at every moment, a disk that fills.

Before a call that changes a file the kernel asks here what to do (seccomp's user notification:
Linux 5.5, x86-64). So TensorFlow's C++ is seen like Python, and no test names a moment: it counts
k = 1, 2, ... until the work gets done.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib
import multiprocessing
import os
import select
import signal
import socket
import stat
import struct
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import pytest

_WRITES = {1, 18, 20, 40, 326}
"""write, pwrite64, writev, sendfile, copy_file_range."""
_FLAGS = {2: 1, 257: 2}
"""open and openat, and which argument has their flags; those that only read are not asked about."""
_MAKES = {83, 88, 258, 266, 285}
"""mkdir, symlink, mkdirat, symlinkat, fallocate."""
_OTHERS = {76, 77, 82, 84, 87, 263, 264, 316}
"""truncate, ftruncate, rename, rmdir, unlink, unlinkat, renameat, renameat2."""

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER, _NEW_LISTENER = 38, 317, 1, 1 << 3
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_NOTIFICATION, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1

_IMPORTED = ("keras_models.model", "keras_models.training", "serving.delta")
"""What takes seconds."""


class Ended(NamedTuple):
    """How a process ended.

    Args:
      calls: How many calls it came to.
      killed: Whether before one of them.
      error: The traceback of what it raised; empty where it raised nothing.
    """

    calls: int
    killed: bool
    error: str


def kill_before(number: int, function: Callable[..., object], *arguments: object) -> Ended:
    """Runs a function in a process that is killed before its file system call of a number.

    Args:
      number: From 1.
      function: Of a module.
      *arguments: Its arguments.
    """
    return _run(signal.SIGKILL, number, function, arguments)


def fill_before(number: int, function: Callable[..., object], *arguments: object) -> Ended:
    """Runs a function in a process that finds no room on the disk from a call on.

    Args:
      number: Of the call, from 1.
      function: Of a module.
      *arguments: Its arguments.
    """
    return _run(0, number, function, arguments)


def _import() -> None:
    for module in _IMPORTED:
        importlib.import_module(module)


# It has imported what takes long, and computed nothing: TensorFlow's threads would be missing in
# what is forked from it. So the function's own module is imported there.
_FORKS = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _import)


def _run(how: int, number: int, function: Callable[..., object], arguments: object) -> Ended:
    name = function.__module__, function.__qualname__
    ended = _FORKS.submit(_fork, how, number, name, arguments).result()
    if ended is None:
        pytest.skip("the kernel tells nobody of a process's calls (seccomp's user notification)")
    return ended


def _fork(
    how: int, number: int, function: tuple[str, str], arguments: tuple[object, ...]
) -> Ended | None:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            _be_asked_about(theirs, function, arguments)
        os._exit(1)
    theirs.close()
    with ours:
        _, (*listener,), _, _ = socket.recv_fds(ours, 1, 1)
        killed, calls = False, 0
        if listener:
            killed, calls = _supervise(child, listener[0], how, number)
        os.waitpid(child, 0)
        with ours.makefile("rb") as end:
            error = end.read().decode()
    return Ended(calls, killed, error) if listener else None


def _supervise(child: int, listener: int, how: int, number: int) -> tuple[bool, int]:
    calls = 0
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    try:
        # It hangs up when the process is gone.
        while poll.poll()[0][1] & select.POLLIN:
            received = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, _RECEIVE, received)
            except FileNotFoundError:
                # A signal has ended the call.
                continue
            notification, thread, _, call, _, _, *arguments = _NOTIFICATION.unpack(received)
            fails = False
            if call not in _WRITES or _of_a_file(thread, arguments):
                calls += 1
                if how and calls == number:
                    os.kill(child, how)
                    return True, calls
                fails = not how and calls >= number and call not in _OTHERS
            response = (-errno.ENOSPC, 0) if fails else (0, _CONTINUE)
            with suppress(FileNotFoundError):
                fcntl.ioctl(listener, _SEND, _RESPONSE.pack(notification, 0, *response))
        return False, calls
    finally:
        os.close(listener)


def _of_a_file(thread: int, arguments: list[int]) -> bool:
    # The one written to comes first, but of copy_file_range.
    with suppress(OSError):
        return stat.S_ISREG(os.stat(f"/proc/{thread}/fd/{arguments[0]}").st_mode)
    return False


def _be_asked_about(
    parent: socket.socket, function: tuple[str, str], arguments: tuple[object, ...]
) -> None:
    module, name = function
    work: Callable[..., object] = getattr(importlib.import_module(module), name)
    listener = _install(_program())
    socket.send_fds(parent, [b" "], [listener] if listener >= 0 else [])
    if listener < 0:
        os._exit(0)
    os.close(listener)
    try:
        work(*arguments)
    except BaseException:
        parent.sendall(traceback.format_exc().encode())
    os._exit(0)


def _install(program: bytes) -> int:
    """Puts a filter before this process's calls; gives its listener, or -1."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program)
    pointer = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return int(libc.syscall(_SECCOMP, _FILTER, _NEW_LISTENER, pointer))


def _program() -> bytes:
    """Berkeley packet filter: which calls are asked about."""
    steps = []
    creating = os.O_CREAT | os.O_TRUNC
    for call, position in _FLAGS.items():
        steps += [
            (_LOAD, 0, 0, 0),
            (_EQUAL, 0, 4, call),
            (_LOAD, 0, 0, 16 + 8 * position),
            (_ANY_BIT, 0, 1, creating),
            (_RETURN, 0, 0, _ASK),
            (_RETURN, 0, 0, _ALLOW),
        ]
    steps.append((_LOAD, 0, 0, 0))
    for call in sorted(_WRITES | _MAKES | _OTHERS):
        steps += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ASK)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
