"""What a run shows, and the file that takes the rest."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from keras_models.disk_space import disk_full
from transforms.problems import InputError


@contextmanager
def output(workdir: Path, verbose: bool) -> Iterator[Console]:
    """The screen; without `-v`, all that libraries print goes to a file in `logs/`."""
    from tfx_pipeline.progress import quiet

    if verbose:
        yield Console(highlight=False, soft_wrap=True)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    log_file = workdir / "logs" / f"{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    with quiet(log_file) as console:
        try:
            yield console
        except (InputError, typer.Exit):
            raise
        except KeyboardInterrupt:
            console.print("interrupted; run it again and it goes on from here")
            raise typer.Exit(130) from None
        except Exception as error:
            console.print(f"[red]failed[/red] {escape(_explained(error, workdir))}")
            logging.getLogger(__name__).exception("The run failed")
            console.print(f"Everything that was printed is in {escape(str(log_file))}")
            raise typer.Exit(1) from error


def _explained(error: Exception, workdir: Path) -> str:
    # Beam and ML Metadata do not say themselves where there was no room.
    full = disk_full(error, "what a run keeps", workdir)
    return _first_line(error) if full is None else str(full)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"
