"""`equipoise gate`: the gate's verdicts on a workdir's runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.errors import explain_errors


def gate(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="Workdir of some runs.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Shows why the newest verdict is what it is.")
    ] = False,
    number: Annotated[
        int | None,
        typer.Option("--run", metavar="N", help="Explains that run, of any age."),
    ] = None,
) -> None:
    """List the gate's verdicts on a workdir's runs, or explain one.

    Of one that is explained the exit status is as that of the run: 0 when the model was blessed, 3
    when it was held back. A list ends with 0.
    """
    from tfx_pipeline.gate import explain as verdicts

    console = Console(highlight=False)
    with explain_errors():
        runs = verdicts.read_verdicts(workdir)
        if not explain and number is None:
            console.print(verdicts.list_runs(runs))
            return
        chosen = verdicts.one_verdict(runs, number, workdir)
    for part in verdicts.explain(chosen):
        console.print(part)
    if chosen.verdict is not None and not chosen.verdict["blessed"]:
        raise typer.Exit(3)
