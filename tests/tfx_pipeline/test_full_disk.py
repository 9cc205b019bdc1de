"""What a run says on a disk that fills, whichever part of it finds no room, and how it goes on."""

from __future__ import annotations

import datetime
import errno
from pathlib import Path

import pytest
import typer

from tfx_pipeline.cli.output import output
from tfx_pipeline.simulate import simulate

from ..command_line import equipoise
from ..small_disk import small_disk
from . import simulated_job


class _Wrapped(Exception):
    """As libraries have it: the system's text in one of their own."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        _Wrapped("[Errno 28] Error writing bytes to file. Detail: No space left on device [a.cc]"),
        _Wrapped("INSERT INTO `Event`: database or disk is full query"),
    ],
    ids=str,
)
def test_a_run_names_the_disk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    """Also where the error is that of a library which came of it."""
    with small_disk(tmp_path / "disk", 1 << 20):
        workdir = tmp_path / "disk" / "runs" / "job"
        (workdir / "logs").mkdir(parents=True)
        with pytest.raises(typer.Exit) as ended, output(workdir, verbose=False):
            raise RuntimeError("a component failed") from error
        said = capfd.readouterr().out.splitlines()
        assert ended.value.exit_code == 1 and len(said) == 2
        # The log file takes a page of the 256.
        assert said[0].startswith(f"failed {workdir}: found no room (") and (
            f"; 1.0 MiB free on the disk at {tmp_path / 'disk'}); expected room for " in said[0]
        )


def test_another_error_is_no_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(typer.Exit), output(tmp_path, verbose=False):
        raise OSError(errno.EACCES, "Permission denied")
    assert capfd.readouterr().out.startswith("failed PermissionError: [Errno 13] Permission denied")


@pytest.mark.slow
def test_a_run_goes_on_from_wherever_the_disk_was_full(tmp_path: Path) -> None:
    """ML Metadata, ingestion, Transform and the Trainer find no room, one after the other."""
    simulate(tmp_path / "logs", days=7, rows_per_day=2000, start=datetime.date(2024, 1, 1))
    with small_disk(tmp_path / "disk", 300 << 10) as resize:
        arguments = simulated_job.arguments(tmp_path / "logs", tmp_path / "disk" / "work")
        failed = []
        for size in (300 << 10, 1 << 20, 3 << 20, 5 << 20):
            resize(size)
            done = equipoise("run", *arguments)
            assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
            (line,) = (text for text in done.stdout.splitlines() if text.startswith("failed "))
            assert ": found no room (" in line and f" the disk at {tmp_path / 'disk'})" in line
            failed += [text.split()[1] for text in done.stdout.splitlines() if "✗" in text]
        assert failed == ["LogExampleGen", "LogExampleGen", "Transform", "Trainer"]
        resize(1 << 30)
        done = equipoise("run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("reused") == 5 and "blessed, version" in done.stdout
        assert not list((tmp_path / "disk" / "work" / "checkpoints").iterdir())
