"""The folder that a job keeps everything in."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transforms.problems import InputError, Problem


@contextmanager
def exclusive(workdir: Path) -> Iterator[None]:
    """Creates the workdir and holds it, so that two runs cannot mix their results.

    The lock goes with the process, however that ends.

    Args:
      workdir: Made with its parents, and with `logs/` in it, where it is missing.

    Raises:
      InputError: if it cannot be written, or another run is at work in it.
    """
    if set("*?[") & set(str(workdir)):
        raise InputError(
            [
                Problem(
                    str(workdir),
                    "a name with one of * ? [",
                    "a workdir without them: TFX reads its paths as patterns",
                    "Choose another with --workdir.",
                )
            ]
        )
    try:
        (workdir / "logs").mkdir(parents=True, exist_ok=True)
        lock = open(workdir / ".lock", "w")  # noqa: SIM115 - held until the block ends
    except OSError as error:
        raise InputError(
            [
                Problem(
                    str(workdir),
                    error.strerror or str(error),
                    "a folder that can be written",
                    "Choose another with --workdir.",
                )
            ]
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                [
                    Problem(
                        str(workdir),
                        "another run at work in it",
                        "a workdir to itself",
                        "Wait for it, or choose another with --workdir.",
                    )
                ]
            ) from None
        yield
