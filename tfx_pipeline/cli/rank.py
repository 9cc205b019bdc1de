"""`equipoise rank`: asks a server to rank candidates for one user."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors, print_error
from tfx_pipeline.cli.json_arguments import parse_items, parse_object
from tfx_pipeline.cli.options import Address, Timeout


def rank(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the served model.")],
    user: Annotated[
        str, typer.Option(metavar="JSON", help="Columns of the user and the context, an object.")
    ],
    items: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="Columns of the candidates, an array of objects; [bold]-[/bold] reads objects, "
            "one a line, from standard input.",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="OUTPUT",
            help="What to sort by.",
            show_default="the fused score if the model has one, else its first task",
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Shows only the best so many.")] = None,
    address: Address = "127.0.0.1:8500",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Feature state to look up the user's history in, as a feature store would; the "
            "user then also has the event time.",
        ),
    ] = None,
    timeout: Timeout = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Prints JSON lines, best first.")] = False,
) -> None:
    """Rank candidates for one user: ask a server, and show them best first.

    Columns that are left out count as missing.
    """
    import numpy as np

    from serving.client import Client, PredictError

    with explain_errors(ValueError):
        if items == "-":
            candidates = [
                parse_object(f"item {i}", t) for i, t in enumerate(sys.stdin, 1) if t.strip()
            ]
        else:
            candidates = parse_items(items)
        context = parse_object("--user", user)
        try:
            with Client(address, timeout=timeout) as client:
                columns = client.columns(model)
                if state is not None:
                    from transforms.behaviour_store import BehaviourStore

                    known = [*columns.text, *columns.numeric]
                    (context,) = BehaviourStore(state).fill([context], known)
                scores = client.rank(model, context, candidates)
        except PredictError as error:
            print_error(str(error))
            raise typer.Exit(1) from error
        one = [name for name, values in scores.items() if values.ndim == 1]
        by = by or ("score" if "score" in one else next(iter(one), None))
        if by not in one:
            raise ValueError(f"--by: found {by}; expected one of {', '.join(one)}")
    best = np.argsort(-scores[by], kind="stable")[:top].tolist()
    if as_json:
        for i in best:
            found = {name: values[i].tolist() for name, values in scores.items()}
            print(json.dumps({"item": candidates[i], **found}))
        return
    shown = [name for name in columns.matrices["item_text"] if any(name in c for c in candidates)]
    table = Table("", *shown, *(f"{name} ↓" if name == by else name for name in scores))
    for position, i in enumerate(best, 1):
        cells = (np.atleast_1d(values[i]) for values in scores.values())
        table.add_row(
            str(position),
            *(escape(str(candidates[i].get(name, "–"))) for name in shown),
            *(" ".join(f"{v:.4f}" for v in cell) for cell in cells),
        )
    Console().print(table)
