"""`equipoise predict`: asks a server for predictions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tfx_pipeline.cli.errors import explain_errors, print_error
from tfx_pipeline.cli.json_arguments import parse_object
from tfx_pipeline.cli.options import Address, Timeout


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the served model.")],
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ROW...",
            help="Rows as JSON objects; without any, lines of standard input.",
        ),
    ] = None,
    address: Address = "127.0.0.1:8500",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Feature state to look up users' histories in, as a feature store would; rows "
            "then also hold the event time.",
        ),
    ] = None,
    timeout: Timeout = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Prints JSON lines.")] = False,
) -> None:
    """Ask a server for predictions.

    Columns that a row leaves out count as missing.
    """
    import numpy as np

    from serving.client import Client, PredictError

    texts = rows or [line for line in sys.stdin if line.strip()]
    if not texts:
        print_error("no row: expected JSON objects as arguments or on standard input")
        raise typer.Exit(2)
    with explain_errors(ValueError):
        parsed = [parse_object(f"row {i}", text) for i, text in enumerate(texts, 1)]
        try:
            with Client(address, timeout=timeout) as client:
                if state is not None:
                    from transforms.behaviour_store import BehaviourStore

                    columns = client.columns(model)
                    parsed = BehaviourStore(state).fill(parsed, [*columns.text, *columns.numeric])
                scores = client.predict(model, parsed)
        except PredictError as error:
            print_error(str(error))
            raise typer.Exit(1) from error
    if as_json:
        for i in range(len(parsed)):
            print(json.dumps({task: values[i].tolist() for task, values in scores.items()}))
        return
    table = Table("row", *scores)
    for i in range(len(parsed)):
        cells = (np.atleast_1d(values[i]) for values in scores.values())
        table.add_row(str(i + 1), *(" ".join(f"{v:.4f}" for v in cell) for cell in cells))
    Console().print(table)
