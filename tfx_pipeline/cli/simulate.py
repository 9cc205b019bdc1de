"""`equipoise simulate`: logs from a known model."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.errors import explain_errors


def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the logs.")] = Path("runs/simulated/logs"),
    days: Annotated[int, typer.Option(min=1, help="Days to draw.")] = 7,
    rows_per_day: Annotated[int, typer.Option(min=1, help="Rows a day.")] = 20_000,
    start: Annotated[
        datetime.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")
    ] = datetime.datetime(2024, 1, 1),
    seed: Annotated[int, typer.Option(help="Seed; the same seed draws the same logs.")] = 1,
) -> None:
    """Draw days of logs from a known model.

    Correlated tasks, scenarios of very unequal size, new items every day, popularity by Zipf,
    drift; the true probability of every label stands beside it.
    """
    from tfx_pipeline.simulate import simulate as draw

    with explain_errors():
        files = draw(out, days=days, rows_per_day=rows_per_day, seed=seed, start=start.date())
    Console(highlight=False, soft_wrap=True).print(
        f"[green]✓[/green] {len(files)} days of {rows_per_day:,} rows in {out}", highlight=False
    )
