"""`equipoise run`: the main job."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.figures import number
from tfx_pipeline.cli.options import DAY_FORMAT, ConfigPath, Full, Overrides, Verbose, Workdir
from tfx_pipeline.cli.output import output
from tfx_pipeline.gate.metric_names import FEW_USERS, is_of_few


def run(
    config: ConfigPath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    day: Annotated[
        datetime.datetime | None,
        typer.Option(
            metavar="DAY",
            formats=DAY_FORMAT,
            help="Trains on this day, from what earlier days' runs left, and evaluates on the next "
            "one.",
            show_default="the days of the config",
        ),
    ] = None,
    full: Full = False,
    verbose: Verbose = False,
) -> None:
    """Run the main job: logs in, a gated model out.

    Ends with a table, a row per task and scenario, and leaves [bold]summary.json[/bold],
    [bold]report/index.html[/bold], [bold]rejected/[/bold] and the pushed version in the workdir.
    Finished components are reused when a run is repeated. The exit status is 0 when the model was
    blessed, 3 when the gate held it back, 2 for bad input.
    """
    from tfx_pipeline.config import load_config
    from tfx_pipeline.progress import component_lines
    from tfx_pipeline.workdir import exclusive

    started = time.monotonic()
    if full and day is None:
        raise typer.BadParameter("goes with --day", param_hint="--full")
    with explain_errors():
        settings = load_config(config, overrides)
        if full:
            settings = settings.with_full(True)
        workdir = workdir or Path("runs") / settings.name
        with exclusive(workdir), output(workdir, verbose) as console:
            console.print(f"[bold]{settings.name}[/bold] in {escape(str(workdir))}")
            with console.status("Starting …"):
                from tfx_pipeline.daily.unit import DAILY, check_newest
                from tfx_pipeline.runners import local
            with component_lines(console):
                if day is None:
                    summary = local.run(settings, config_path=str(config), workdir=workdir)
                else:
                    check_newest(str(workdir / DAILY), day.date())
                    summary = local.run_day(
                        settings, config_path=str(config), workdir=workdir, day=day.date()
                    )
            _print_outcome(console, summary, workdir, time.monotonic() - started)
    if not summary["gate"]["blessed"]:
        raise typer.Exit(3)


def _print_outcome(
    console: Console, summary: dict[str, Any], workdir: Path, seconds: float
) -> None:
    from tfx_pipeline.gate.explain import sentence

    failed = {(f["task"], f["scenario"]) for f in summary["gate"]["failures"]}
    open_cells = {(n["task"], n["scenario"]): n["why"] for n in summary["gate"]["not_judged"]}
    with_ceiling = any(cell["auc_ceiling"] is not None for cell in summary["metrics"])
    # 80 columns hold it when nothing but a blank stands between two columns.
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("task", "scenario"):
        table.add_column(name, no_wrap=True)
    # The mean squared error of a regression, the log loss of classes; other tasks have an AUC.
    with_loss = any(cell["kind"] in ("regression", "multiclass") for cell in summary["metrics"])
    columns = ["rows", "pos.", "AUC", *(["ceiling"] if with_ceiling else [])]
    for name in [*columns, "GAUC", *(["loss"] if with_loss else []), "calib."]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    for cell in summary["metrics"]:
        why = open_cells.get((cell["task"], cell["scenario"]))
        verdict = "[green]holds[/green]"
        if why is not None:
            verdict = f"[yellow]{'too few' if 'fewer' in why else 'open'}[/yellow]"
        if (cell["task"], cell["scenario"]) in failed:
            verdict = "[red]fails[/red]"
        table.add_row(
            cell["task"],
            "all" if cell["scenario"] == "*" else escape(cell["scenario"]),
            f"{cell['examples']:,}",
            "–" if cell["positives"] is None else f"{cell['positives']:,}",
            number(cell["auc"], 4),
            *([number(cell["auc_ceiling"], 4)] if with_ceiling else []),
            number(cell["gauc"], 4) + ("*" if is_of_few(cell) else ""),
            *([number(_loss(cell), 4)] if with_loss else []),
            number(cell["calibration"], 3),
            verdict,
            style="bold" if cell["scenario"] == "*" else "",
        )
    console.print(table, soft_wrap=False)
    if any(map(is_of_few, summary["metrics"])):
        console.print(f"*: a GAUC of fewer than {FEW_USERS} users with both classes")
    if any("fewer" in why for why in open_cells.values()):
        console.print("[yellow]too few[/yellow]: not judged, for want of rows of either class")
    if not all("fewer" in why for why in open_cells.values()):
        console.print(
            "[yellow]open[/yellow]: not judged; why, says "
            f"[bold]equipoise gate {escape(str(workdir))} --explain[/bold]"
        )
    data = summary["data"]
    console.print(
        f"{data['read']:,} rows read: {data['train']:,} train, {data['valid']:,} valid, "
        f"{data['eval']:,} eval; {data['duplicates']:,} duplicates, {data['rejected']:,} rejected, "
        f"{data['out_of_range']:,} of other days"
    )
    if data["empty_days"]:
        console.print(f"[yellow]no row[/yellow] of {', '.join(data['empty_days'])}")
    for failure in summary["gate"]["failures"]:
        console.print(f"[red]{failure['kind'].replace('_', ' ')}[/red] {escape(sentence(failure))}")
    for warning in summary["gate"]["warnings"]:
        console.print(f"[yellow]warning[/yellow] {escape(warning['why'])}")
    for note in summary["gate"]["notes"]:
        console.print(f"[cyan]note[/cyan] {escape(note['why'])}")
    if summary["gate"]["blessed"]:
        console.print(
            f"[green]blessed[/green], version {summary['pushed_version']} in "
            f"{escape(str(workdir / 'serving' / summary['model']))}"
        )
    else:
        console.print("[red]not blessed[/red], nothing was pushed")
    console.print(f"report {escape(str(workdir / 'report' / 'index.html'))}   {seconds:.0f} s")


def _loss(cell: dict[str, Any]) -> float | None:
    if cell["kind"] in ("regression", "multiclass"):
        return cell["mse"] if cell["kind"] == "regression" else cell["logloss"]
    return None
