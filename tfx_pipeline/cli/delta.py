"""`equipoise delta`: what changed between two versions, as a file, and back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tfx_pipeline.cli.errors import explain_errors

Base = Annotated[
    Path,
    typer.Argument(metavar="BASE", help="Folder of the versions that are served, the parent last."),
]

Key = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Holds the key, of 32 bytes or more, that its maker and those who apply it share.",
        show_default=False,
    ),
]

delta = typer.Typer(
    help="Between whole pushes, sync what changed.",
    epilog="Example: equipoise delta export served/kuairand runs/kuairand/serving/kuairand/NUMBER",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@delta.command(
    "export",
    epilog="Example: equipoise delta export served/kuairand "
    "runs/kuairand/serving/kuairand/1732357440 --out deltas",
)
def export(
    base: Base,
    candidate: Annotated[
        Path, typer.Argument(metavar="VERSION", help="Folder of the later, whole version.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the file.")] = Path("deltas"),
    key: Key = None,
) -> None:
    """Write what the newest version of BASE needs to become like VERSION.

    VERSION's model was trained on from that of BASE, with [bold]serving.delta[/bold], which says
    which embedding rows go along; all else does. The file is OUT/WHOLE-NNN.delta: the whole version
    that the chain begins with, and the number in the chain. With [bold]--key[/bold] it is signed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from serving.delta import DeltaRefusedError

    console, started = Console(highlight=False, soft_wrap=True), time.monotonic()
    with explain_errors(DeltaRefusedError), console.status("Comparing the versions …"):
        from tfx_pipeline.delta import export_delta

        written = export_delta(base, candidate, out, key)
    counts, share = written.counts, written.size / written.whole_size
    console.print(
        f"[green]✓[/green] {escape(str(written.path))} for version {written.parent}: "
        f"{_mib(written.size)}, {share:.0%} of {_mib(written.whole_size)}   "
        f"{time.monotonic() - started:.1f} s"
    )
    console.print(
        f"{counts.changed:,} rows change, {counts.new:,} are new, {counts.removed:,} go; "
        f"{counts.waiting:,} differ and wait, {counts.over:,} are above max_rows_per_field; "
        f"{counts.served:,} are served then"
    )


@delta.command(
    "apply", epilog="Example: equipoise delta apply served/kuairand deltas/1732271045-*.delta"
)
def apply(
    base: Base,
    files: Annotated[
        list[Path], typer.Argument(metavar="DELTA...", help="Deltas of one chain, in order.")
    ],
    key: Key = None,
) -> None:
    """Turn the newest version of BASE into later ones.

    Each delta adds a version, which servers then load. One that was applied already changes
    nothing; one that is damaged, out of order or for another version is refused, and those before
    it stay. With [bold]--key[/bold], one that is not signed with it is refused, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from serving.delta import DeltaRefusedError

    console = Console(highlight=False, soft_wrap=True)
    with explain_errors(DeltaRefusedError):
        from tfx_pipeline.delta import apply_delta

        for path in files:
            started = time.monotonic()
            with console.status(f"Applying {escape(path.name)} …"):
                applied = apply_delta(path, base, key)
            if applied.is_unverified:
                console.print(
                    f"[yellow]not verified[/yellow] {escape(path.name)} is signed; by whom, only "
                    "--key FILE tells"
                )
            if applied.is_new:
                console.print(
                    f"[green]✓[/green] {escape(path.name)}: version {applied.version} in "
                    f"{escape(str(base))}   {time.monotonic() - started:.1f} s"
                )
            else:
                console.print(f"{escape(path.name)}: applied already, up to {applied.version}")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.2f} MiB"
