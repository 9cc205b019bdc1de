"""`equipoise compile`: the run of a day, for an orchestrator."""

from __future__ import annotations

import os
import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.options import ConfigPath, Full, Overrides


class Orchestrator(str, Enum):
    """What there is to compile for."""

    KUBEFLOW = "kubeflow"


def compile_(
    config: ConfigPath,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: .yaml, .yml or .json.")
    ],
    to: Annotated[Orchestrator, typer.Option("--to", help="What is to run it.")],
    overrides: Overrides = None,
    full: Full = False,
) -> None:
    """Compile the run of a day for Kubeflow Pipelines.

    Its runtime parameters are [bold]day[/bold] and [bold]data_path[/bold]; the config is fixed. It
    goes on from what the run of an earlier day left; with [bold]--full[/bold] it begins. The
    config's section [bold]kubeflow[/bold] names the image, the volume, and what tasks ask of the
    cluster. Needs the environment of [bold]make kubeflow[/bold].
    """
    del to  # the one there is
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.config import load_config
    from tfx_pipeline.progress import quiet

    with explain_errors(), tempfile.TemporaryDirectory() as folder:
        settings = load_config(config, overrides)
        if full:
            settings = settings.with_full(True)
        with quiet(Path(folder, "log")) as console:
            with console.status("Compiling …"):
                from tfx_pipeline.runners.kubeflow import compile_pipeline

                compile_pipeline(settings, out)
            kind = "begins a lineage" if settings.daily.full else "goes on from earlier days"
            console.print(
                f"[green]✓[/green] {escape(str(out))}: a run of [bold]{settings.name}[/bold] that "
                f"{kind}; parameters [bold]day[/bold], [bold]data_path[/bold]"
            )
