"""`equipoise` in a process of its own, without the ten seconds that importing TFX takes.

A server that has imported all that the commands need, and computed nothing, forks each of them, as
`tfx_pipeline.own_process` does. Some tests start the installed script all the same: what it shows
first, and that it starts at all, is theirs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

EQUIPOISE = Path(sys.executable).with_name("equipoise")
"""The installed script."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tfx_pipeline.cli", "tfx_pipeline.daily.backfill"])


class Command:
    """A command that runs; like a `subprocess.Popen` of a process group of its own.

    Args:
      arguments: Those of `equipoise`.
      environment: Variables that are other than here.
    """

    def __init__(self, *arguments: object, environment: Mapping[str, str] | None = None):
        self._texts = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        self._process = _SERVER.Process(
            target=_run, args=(self._texts, *map(str, self._files), dict(environment or {}))
        )
        self._process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def kill(self) -> None:
        """Ends it and all that it started, at once."""
        assert self._process.pid is not None
        if not self.running:
            # Its number may be that of another process by now.
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # It ended, or has not begun its group.
            self._process.kill()
        self._process.join()

    def wait(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Waits for its end, and ends what takes too long.

        Args:
          timeout: In seconds.

        Raises:
          subprocess.TimeoutExpired: after that time.
        """
        self._process.join(timeout)
        if self.running:
            self.kill()
            raise subprocess.TimeoutExpired(self._texts, timeout)
        code = self._process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(self._texts, code, *(f.read_text() for f in self._files))


def equipoise(
    *arguments: object, timeout: float = 600, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, as `subprocess.run` would with all that it prints."""
    return Command(*arguments, environment=environment).wait(timeout)


def _run(arguments: list[str], stdout: str, stderr: str, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    for file, descriptor in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv = ["equipoise", *arguments]
    from tfx_pipeline.cli import main

    main()
