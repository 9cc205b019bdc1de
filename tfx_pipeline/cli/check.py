"""`equipoise check`: a config and a sample of its data, before anything runs."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

from tfx_pipeline.cli.errors import explain_errors, print_problems
from tfx_pipeline.cli.options import ConfigPath, Overrides


def check(config: ConfigPath, overrides: Overrides = None) -> None:
    """Check a config and a sample of its data before anything runs.

    Reports every mistake at once: unknown keys, columns that are missing, types that do not match,
    label expressions that fail, scenarios that do not occur.
    """
    from tfx_pipeline.check import check_file

    console = Console(highlight=False, soft_wrap=True)
    with explain_errors():
        result = check_file(config, overrides)
    for line in result.summary:
        console.print(escape(line))
    for warning in result.warnings:
        console.print(f"[yellow]warning[/yellow] {escape(str(warning))}")
    if result.problems:
        print_problems(result.problems)
        raise typer.Exit(2)
    console.print("[green]✓[/green] nothing stands against running it")
