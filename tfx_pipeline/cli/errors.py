"""Errors on the screen, as a user can act on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from keras_models.disk_space import DiskFullError
from transforms.problems import InputError, Problem


@contextmanager
def explain_errors(*also: type[Exception]) -> Iterator[None]:
    """Prints what is wrong with the input, and ends with status 2; with 1 where a disk is full.

    Args:
      also: Further errors whose text is meant for the user.
    """
    try:
        yield
    except InputError as error:
        print_problems(error.problems)
        raise typer.Exit(2) from error
    except DiskFullError as error:
        print_error(str(error))
        raise typer.Exit(1) from error
    except also as error:
        print_error(str(error))
        raise typer.Exit(2) from error


def print_error(text: str) -> None:
    """Prints one error, for the user."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error[/red] {escape(text)}")


def print_problems(problems: Sequence[Problem]) -> None:
    """Prints what is wrong with the input: where, what was found, what was expected."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(
            f"[red]error[/red] [bold]{escape(problem.where)}[/bold]\n"
            f"  found     {escape(problem.found)}\n  expected  {escape(problem.expected)}"
        )
        if problem.remedy:
            console.print(f"  {escape(problem.remedy)}")
