"""`equipoise report`: writes a report again."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tfx_pipeline.cli.errors import explain_errors
from transforms.problems import InputError, Problem


def report(
    workdir: Annotated[Path, typer.Argument(metavar="DIR", help="Workdir of a finished run.")],
) -> None:
    """Write the report of a workdir's newest run again.

    For example after an upgrade, to see the same run on the new page. Runs no component.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with explain_errors():
        if not (workdir / "logs").is_dir():
            raise InputError([Problem(str(workdir), "no run", "a run's workdir, as runs/NAME")])
        log_file = workdir / "logs" / f"report-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Writing the report …"):
                from tfx_pipeline.report import rewrite

                page = rewrite(workdir)
            console.print(f"report {escape(str(page))}")
