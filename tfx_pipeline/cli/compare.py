"""`equipoise compare`: the newest models of several runs, on the same rows."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.figures import number
from transforms.problems import InputError, Problem


def compare(
    workdirs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_A RUN_B [RUN_C...]", help="Workdirs of two runs or more."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the page with the plots is written.")
    ] = Path("compare.html"),
) -> None:
    """Compare the newest models of several runs, cell by cell, on the same rows.

    Blessed or not. Prints AUC and GAUC of every task and scenario with the paired difference to
    RUN_A and its 95% interval, starred where that leaves out 0, and draws them on a page of its
    own.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with explain_errors():
        _check_comparable(workdirs, out)
        log_file = workdirs[0] / "logs" / f"compare-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Scoring the evaluation days …"):
                from tfx_pipeline.compare import compare as compare_runs
                from tfx_pipeline.comparison_page import write_comparison

                found = compare_runs(workdirs)
                write_comparison(found, out)
            print_comparison(console, found)
            console.print(f"page {escape(str(out))}")


def _check_comparable(workdirs: Sequence[Path], out: Path) -> None:
    problems = []
    if len({workdir.resolve() for workdir in workdirs}) < 2:
        problems.append(Problem("RUN_A RUN_B", "one workdir", "two different ones, or more"))
    for workdir in workdirs:
        if not (workdir / "logs").is_dir():
            problems.append(Problem(str(workdir), "no run", "a run's workdir, as runs/NAME"))
    if out.is_dir() or not out.absolute().parent.is_dir():
        found = "a folder" if out.is_dir() else f"no folder {out.absolute().parent}"
        problems.append(Problem(f"--out {out}", found, "a file in a folder that exists"))
    if problems:
        raise InputError(problems)


def print_comparison(console: Console, found: Any) -> None:
    """Prints a table a metric, with a row per task and scenario."""
    from tfx_pipeline.gate.metric_names import METRIC_NAMES

    first, *others = found.runs
    for metric in found.metrics:
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in (METRIC_NAMES[metric], "scenario"):
            table.add_column(name, no_wrap=True)
        table.add_column(escape(first), justify="right", overflow="fold")
        for run in others:
            table.add_column(escape(run), justify="right", overflow="fold")
            table.add_column("difference (95%)", justify="right", no_wrap=True)
        for figure in found.of(metric):
            row = [number(figure.values[0], 4)]
            for value, difference in zip(figure.values[1:], figure.differences, strict=True):
                row += [number(value, 4), _difference(difference, figure.more_is_better)]
            scenario = "all" if figure.scenario == "*" else escape(figure.scenario)
            table.add_row(escape(figure.task), scenario, *row)
        console.print(table, soft_wrap=False)
        console.print()
    if found.left_out:
        console.print(f"not in all runs, and left out: {escape(', '.join(found.left_out))}")
    console.print(
        f"{found.rows:,} evaluation rows of {found.users:,} users; differences to {escape(first)}, "
        "paired, each interval for itself; * leaves out 0, – cannot be told"
    )


def _difference(difference: Any, more_is_better: bool) -> str:
    if difference is None:
        return "–"
    text = f"{difference.value:+.4f} ({difference.low:+.3f} {difference.high:+.3f})"
    if not difference.clear:
        return f"{text} "
    # The star is for where there are no colours, and for ends that round to 0.
    return f"[bold {'green' if (difference.value > 0) == more_is_better else 'red'}]{text}*[/]"
