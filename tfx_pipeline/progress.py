"""One line per component while a pipeline runs, and silence otherwise.

The runner, TensorFlow and Beam write hundreds of lines; these go to a log file.
What a person wants to see is which component runs, for how long, and how far the
training is.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.status import Status

PROGRESS_LOGGER = "equipoise.progress"
"""Components log what a person should see while they work to this logger."""

_RUNNING = re.compile(r"Component (\S+) is running\.")
_FINISHED = re.compile(r"Component (\S+) is finished\.")
_CACHED = re.compile(r"A cached execution \d+ is used\.")


class ComponentProgress(logging.Handler):
    """Turns the local runner's log records into progress lines.

    Args:
      console: Where the lines go.
      of: What the components are of; then none leaves a line, and only what runs is shown.
    """

    def __init__(self, console: Console, of: str = ""):
        super().__init__(logging.INFO)
        self._console = console
        self._of = of
        self._status: Status | None = None
        self._name = ""
        self._started = 0.0
        self._cached = False

    def emit(self, record: logging.LogRecord) -> None:
        """Handles a record of TFX's runner or of the progress logger."""
        text = record.getMessage()
        if record.name == PROGRESS_LOGGER:
            if not self._of:
                self._console.print(f"    [dim]{text}[/dim]")
        elif match := _RUNNING.fullmatch(text):
            self._begin(match[1])
        elif _CACHED.fullmatch(text):
            self._cached = True
        elif _FINISHED.fullmatch(text):
            self._end("[green]✓[/green]")

    def _begin(self, name: str) -> None:
        self._name, self._started, self._cached = name, time.monotonic(), False
        self._status = self._console.status(f"{self._of} {name} …".strip())
        self._status.start()

    def _end(self, mark: str) -> None:
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        if self._of:
            return
        seconds = time.monotonic() - self._started
        note = "  [dim]reused[/dim]" if self._cached else ""
        self._console.print(f"  {mark} {self._name:<18} {seconds:7.1f} s{note}")

    def failed(self) -> None:
        """Ends the line of the component that was running when the run stopped."""
        self._end("[red]✗[/red]")


@contextmanager
def quiet(log_file: Path) -> Iterator[Console]:
    """Sends all that this process prints, C++ libraries included, to a file.

    Args:
      log_file: Appended to; its folder must exist.

    Yields:
      A console that still writes to the screen.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    screen = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    saved_out, saved_err = os.dup(1), os.dup(2)
    with open(log_file, "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            with warnings.catch_warnings():
                logging.captureWarnings(True)
                yield Console(file=screen, highlight=False, soft_wrap=True)
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved_out, 1)
            os.dup2(saved_err, 2)
            os.close(saved_out)
            os.close(saved_err)
            screen.close()


@contextmanager
def component_lines(console: Console, of: str = "") -> Iterator[None]:
    """Prints a line per component that TFX's local runner runs inside the block.

    Args:
      console: Where the lines go.
      of: What the components are of; then none leaves a line, and only what runs is shown.
    """
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    handler = ComponentProgress(console, of)
    loggers = [absl_logging.get_absl_logger(), logging.getLogger(PROGRESS_LOGGER)]
    logging.getLogger(PROGRESS_LOGGER).setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    except BaseException:
        handler.failed()
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
