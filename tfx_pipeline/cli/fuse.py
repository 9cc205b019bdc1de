"""`equipoise fuse`: searches the weights of the fused score."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.figures import number
from transforms.problems import InputError, Problem


def fuse(
    workdir: Annotated[
        Path, typer.Argument(metavar="WORKDIR", help="Folder of a run that pushed a model.")
    ],
    objective: Annotated[
        str,
        typer.Option(
            help="What the score is for: a task, whose GAUC is meant, or a weighted sum of "
            "[bold]gauc(TASK)[/bold] and [bold]auc(TASK)[/bold]."
        ),
    ],
) -> None:
    """Search the weights of the fused score on the evaluation days.

    Scores the days with the pushed model, searches on half of the users, and shows what the weights
    are worth to both halves. Prints the lines for the config; changes nothing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with explain_errors():
        if not (workdir / "logs").is_dir():
            raise InputError([Problem(str(workdir), "no run", "a run's workdir, as runs/NAME")])
        log_file = workdir / "logs" / f"fuse-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Scoring the evaluation days …") as status:
                from tfx_pipeline.fuse import fuse as search

                found = search(
                    workdir,
                    objective,
                    lambda trials, best: status.update(f"{trials} trials, best {best:.4f}"),
                )
            _print_fused(console, found)


def _print_fused(console: Console, found: Any) -> None:
    from tfx_pipeline.fuse import objective

    for name, weights in (("before", found.before), ("after", found.after)):
        shown = "  ".join(f"{task} {weight:g}" for task, weight in weights.items())
        console.print(f"weights {name}: {shown}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for half in ("searched", "held out"):
        for moment in ("before", "after"):
            table.add_column(f"{half},\n{moment}", justify="right")
    columns = [*found.searched, *found.held_out]
    for i, term in enumerate(found.terms):
        weight = "" if term.weight == 1 else f"{term.weight:g} * "
        table.add_row(weight + term.name, *(number(column[i], 4) for column in columns))
    table.add_row("objective", *(f"{objective(found.terms, c):.4f}" for c in columns), style="bold")
    console.print(table, soft_wrap=False)
    console.print(f"version {found.version}, {found.rows:,} rows of the evaluation days")
    console.print("For the config:", found.config_lines, sep="\n\n")
