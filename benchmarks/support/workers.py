"""Processes that take turns, each in an environment of its own; nothing but the standard library.

A worker sets itself up, says so, and then works when it is told to: so a slow moment of the machine
strikes all sides alike, and no side works while another is timed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_ANSWERS = "BENCHMARK_ANSWERS"
"""Environment variable: the file descriptor that answers go to."""

_VERBOSE = "BENCHMARK_VERBOSE"
"""Environment variable: shows what workers print, and their errors."""

Turn = Callable[[int], Callable[[], None]]
"""Prepares so many steps, which does not count, and gives what runs them."""


def work(make: Callable[[], tuple[Turn, Mapping[str, Any]]]) -> None:
    """The worker's side: reads how many steps to run, answers the seconds that they took.

    Seconds are CPU time of the process, all threads together, which other work on the machine
    disturbs little. Answers go where the other end asked for them, for libraries print.

    Args:
      make: Sets up; gives the turns and what there is to say about them.
    """
    answers = os.fdopen(int(os.environ.get(_ANSWERS, 1)), "w")

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    turn, about = make()
    answer(about)
    for line in sys.stdin:
        run = turn(int(line))
        start = time.process_time()
        run()
        answer(time.process_time() - start)


class Worker:
    """The other end of a worker.

    Args:
      python: Interpreter of its environment.
      module: What it runs.
      arguments: Of its command line.
    """

    def __init__(self, python: str | Path, module: str, *arguments: str | int):
        read, write = os.pipe()
        output = None if os.environ.get(_VERBOSE) else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [python, "-m", module, *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env={**os.environ, _ANSWERS: str(write)},
            pass_fds=[write],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)
        self.about: dict[str, Any] = self._answer()

    def seconds(self, steps: int) -> float:
        """How long so many steps take."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        taken: float = self._answer()
        return taken

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._answers.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            command = " ".join(map(str, self._process.args))  # type: ignore[arg-type]
            raise RuntimeError(
                f"`{command}` should have answered. It ended with {self._process.wait()}; "
                f"{_VERBOSE}=1 shows what it printed"
            )
        return json.loads(line)


def take_turns(
    workers: Mapping[str, Worker], *, rounds: int, steps: int
) -> dict[str, Sequence[float]]:
    """Runs some steps of each worker, then of each again, first in one order, then in the other.

    Args:
      workers: By name; all are set up.
      rounds: How often; one more goes before, for warming up.
      steps: In a turn.

    Returns:
      Seconds a step, by name, one for each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(1 + rounds):
        for name in list(workers)[:: 1 if turn % 2 else -1]:
            seconds[name].append(workers[name].seconds(steps) / steps)
    return {name: values[1:] for name, values in seconds.items()}


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Median over the rounds of how many times longer the ones took."""
    return median(one / other for one, other in zip(ones, others, strict=True))
