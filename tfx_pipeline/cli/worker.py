"""`equipoise worker`: takes part in a training that several workers share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.options import ConfigPath, Overrides


def worker(
    config: ConfigPath,
    workdir: Annotated[
        Path, typer.Option(help="Workdir of the run, a folder that all workers see.")
    ],
    overrides: Overrides = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the training to begin.")
    ] = 3600.0,
) -> None:
    """Take part in a training, as the worker that TF_CONFIG says.

    The first worker is [bold]equipoise run[/bold] itself, with the same config and a TF_CONFIG of
    its own. This waits until that trains, trains with it, and ends with it. When a worker fails,
    all of them end; started again, they go on from the last checkpoint.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    console = Console(highlight=False, soft_wrap=True)
    with explain_errors(TimeoutError, RuntimeError):
        from tfx_pipeline.config import load_config
        from tfx_pipeline.tf_config import tf_config_problems
        from transforms.problems import InputError

        settings = load_config(config, overrides)
        if problems := tf_config_problems(settings, first=False):
            raise InputError(problems)
        with console.status("Waiting for the training …"):
            from tfx_pipeline.workers import take_part

            take_part(settings, workdir.resolve() / "checkpoints", patience)
    console.print("[green]✓[/green] trained")
