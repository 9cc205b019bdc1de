"""`equipoise lineage`: which days, config, parent and verdict a version comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors


def lineage(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="Number of a pushed version, or its folder."),
    ],
    workdir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Workdir of the runs.",
            show_default="that of runs/ which has the version",
        ),
    ] = None,
) -> None:
    """Show what a version comes from: days, config, parent and the gate's verdict.

    A row a run, the version's own first, back to the one that began with cold weights.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    console = Console(highlight=False)
    with explain_errors():
        number, folder = _find(version, workdir)
        with console.status("Reading ML Metadata …"):
            from tfx_pipeline.daily.lineage import lineage as ancestors_of

            chain = ancestors_of(folder, number)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", justify="right")
    for name in ("version", "trained on", "evaluated on", "verdict", "config"):
        table.add_column(name, no_wrap=True)
    for run in chain:
        data = run.config.data
        last = data.train.end
        if run.day and data.valid is not None:
            last = data.valid.end
        days = str(last) if data.train.start == last else f"{data.train.start}..{last}"
        evaluated = f"{data.eval.start}"
        if data.eval.end != data.eval.start:
            evaluated += f"..{data.eval.end}"
        table.add_row(
            str(run.run),
            str(run.version or "–"),
            days,
            evaluated,
            "[green]blessed[/green]"
            if not run.failures
            else f"[red]{run.failures} failure{'s' if run.failures > 1 else ''}[/red]",
            run.config_hash[:12],
        )
    console.print(table)
    start = chain[-1].config.training.start
    console.print(f"The last one began with cold weights{'' if start is None else f': {start}'}.")


def _find(version: str, workdir: Path | None) -> tuple[int, Path]:
    """The version's number and its workdir."""
    from transforms.problems import InputError, Problem

    path = Path(version)
    name = path.name
    if not name.isdecimal():
        raise InputError(
            [Problem("VERSION", repr(version), "a version's number or folder, as in serving/")]
        )
    if workdir is not None:
        return int(name), workdir
    if len(path.parts) > 1:
        # <workdir>/serving/<model>/<version>
        return int(name), path.resolve().parents[2]
    holders = sorted(folder.parents[2] for folder in Path("runs").glob(f"*/serving/*/{name}"))
    if len(holders) != 1:
        raise InputError(
            [
                Problem(
                    f"version {name}",
                    f"{len(holders)} workdirs in runs/ that hold it",
                    "one",
                    "Name it with --workdir, or give the version's folder.",
                )
            ]
        )
    return int(name), holders[0]
