"""Runs a function in a process of its own, so that the memory it took goes with it."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_own_process(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function in a new process, which begins with the function's module imported.

    What it logs is logged here. It ends with this process, however that ends.

    Args:
      function: Of a module; like its arguments and its result, it is pickled.
      *args: Its arguments.
      **kwargs: Likewise.

    Returns:
      What it returns.

    Raises:
      BrokenProcessPool: if the process is killed.
      Exception: what the function raises.
    """
    # A fork of this process would share locks of TensorFlow's threads, which it does not have. So a
    # server is forked instead, one that has imported what all calls need, and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    records: multiprocessing.Queue[Any] = context.Queue()
    listener = logging.handlers.QueueListener(records, _LoggedHere())
    with ProcessPoolExecutor(1, context, _begin, (records,)) as pool:
        listener.start()
        try:
            return pool.submit(function, *args, **kwargs).result()
        finally:
            listener.stop()


class _LoggedHere(logging.Handler):
    """Hands a record of the other process to the logger of its name."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _begin(records: multiprocessing.Queue[Any]) -> None:
    from absl import logging as absl_logging

    threading.Thread(target=_end_with_parent, daemon=True).start()
    absl_logging.set_verbosity(absl_logging.INFO)
    root = logging.getLogger()
    root.addHandler(logging.handlers.QueueHandler(records))
    root.setLevel(logging.INFO)


def _end_with_parent() -> None:
    """A killed parent cannot end this process; the lock on the workdir went with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
