"""A function in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest
from absl import logging as absl_logging

from tfx_pipeline.config import load_config
from tfx_pipeline.own_process import in_own_process
from transforms.problems import InputError


def test_it_gives_what_the_function_gives_from_another_process() -> None:
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(divmod, 7, 2) == (3, 1)


def test_errors_come_back_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        in_own_process(load_config, tmp_path / "none.yaml")
    (problem,) = raised.value.problems
    assert problem.where == str(tmp_path / "none.yaml") and problem.found


def test_a_killed_process_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        in_own_process(signal.raise_signal, signal.SIGKILL)


def test_what_it_logs_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "absl"):
        in_own_process(absl_logging.info, "Component %s is running.", "Gate")
    assert ("absl", logging.INFO, "Component Gate is running.") in caplog.record_tuples


def test_it_ends_with_a_killed_parent() -> None:
    program = (
        "import time\nfrom tfx_pipeline.own_process import in_own_process\n"
        "if __name__ == '__main__':\n    in_own_process(time.sleep, 600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    # The server, and the process that it forked.
    while time.monotonic() < deadline and sum("forkserver" in _line(c) for c in children) < 2:
        children = psutil.Process(parent.pid).children(recursive=True)
        time.sleep(0.1)
    time.sleep(2)  # it is at work
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    for process in alive:
        process.kill()
    assert children and not alive


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
