"""`equipoise backfill`: one day after the other."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.figures import number
from tfx_pipeline.cli.options import DAY_FORMAT, ConfigPath, Full, Overrides, Verbose, Workdir
from tfx_pipeline.cli.output import output


def backfill(
    config: ConfigPath,
    first: Annotated[
        datetime.datetime,
        typer.Option("--from", metavar="DAY", formats=DAY_FORMAT, help="First day to train on."),
    ],
    last: Annotated[
        datetime.datetime,
        typer.Option("--to", metavar="DAY", formats=DAY_FORMAT, help="Last day to train on."),
    ],
    workdir: Workdir = None,
    overrides: Overrides = None,
    full: Full = False,
    verbose: Verbose = False,
) -> None:
    """Train on the days of a range, a day at a time.

    Each day goes on from the weights, transform graph and feature state that earlier days left, is
    evaluated on the day after, and is pushed if the gate blesses it. Where no earlier day is there,
    the first [bold]daily.window[/bold] days are one run that begins a lineage. Days that were done
    before are not done again. The exit status is 0 when every day was blessed, 3 when the gate held
    one back, 2 for bad input.
    """
    from tfx_pipeline.config import load_config
    from tfx_pipeline.workdir import exclusive

    blessed: list[bool] = []
    with explain_errors():
        settings = load_config(config, overrides)
        if full:
            settings = settings.with_full(True)
        workdir = workdir or Path("runs") / settings.name
        with exclusive(workdir), output(workdir, verbose) as console:
            console.print(f"[bold]{settings.name}[/bold] in {escape(str(workdir))}")
            with console.status("Starting …"):
                from tfx_pipeline.daily.backfill import backfill as days_of
                from tfx_pipeline.progress import component_lines
            tasks = list(settings.tasks)
            console.print(f"{'day':<10}  {'trained on':<13} {'rows':>9}  AUC of {', '.join(tasks)}")
            runs = days_of(
                settings,
                config_path=str(config),
                workdir=workdir,
                first=first.date(),
                last=last.date(),
            )
            while True:
                started = time.monotonic()
                with component_lines(console, of=_next(first, last, blessed)):
                    found = next(runs, None)
                if found is None:
                    break
                summary, was_done = found
                blessed.append(summary["gate"]["blessed"])
                seconds = None if was_done else time.monotonic() - started
                _print_day(console, summary, tasks, seconds)
            console.print(
                f"{sum(blessed)} of {len(blessed)} runs blessed   report "
                f"{escape(str(workdir / 'report' / 'index.html'))}"
            )
    if not all(blessed):
        raise typer.Exit(3)


def _next(first: datetime.datetime, last: datetime.datetime, done: list[bool]) -> str:
    return f"run {len(done) + 1} of {first:%Y-%m-%d} to {last:%Y-%m-%d}:"


def _print_day(
    console: Console, summary: dict[str, Any], tasks: list[str], seconds: float | None
) -> None:
    day, pool = summary["day"], {c["task"]: c for c in summary["metrics"] if c["scenario"] == "*"}
    trained = f"from {day['train'][0][5:]}" if day["full"] else "the day"
    verdict = f"version {summary['pushed_version']}"
    if not summary["gate"]["blessed"]:
        cells = {(f["task"], f["scenario"]) for f in summary["gate"]["failures"]}
        named = ", ".join(f"{task} in {scenario}" for task, scenario in sorted(cells)[:2])
        more = "" if len(cells) <= 2 else f" and {len(cells) - 2} more"
        verdict = f"[red]held back[/red] by {escape(named)}{more}"
    took = "done before" if seconds is None else f"{seconds:.0f} s"
    rows = summary["data"]["train"] + summary["data"]["valid"]
    values = " ".join(number(pool[task]["auc"], 4) for task in tasks)
    console.print(f"{day['day']}  {trained:<13} {rows:>9,}  {values}  {verdict}  [dim]{took}[/dim]")
