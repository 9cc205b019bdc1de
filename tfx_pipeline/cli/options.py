"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A config file (YAML).")]
Workdir = Annotated[
    Path | None,
    typer.Option(
        help="Folder for everything the run writes.", show_default="runs/<name of the config>"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Changes a key of the config, for example [bold]--set training.epochs=3[/bold]. "
        "May be repeated.",
    ),
]
DAY_FORMAT = ["%Y-%m-%d"]
Full = Annotated[
    bool,
    typer.Option(
        "--full",
        help="Trains on the whole window of [bold]daily.window[/bold] days from cold weights, with "
        "a new transform graph.",
    ),
]
Address = Annotated[str, typer.Option(help="Where the server listens.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Shows what TensorFlow, TFX and Beam print.")
]
