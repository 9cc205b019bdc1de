"""The commands of `equipoise`, in the order in which its help lists them."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from typing import Annotated

import typer

from tfx_pipeline.cli.backfill import backfill
from tfx_pipeline.cli.check import check
from tfx_pipeline.cli.compare import compare
from tfx_pipeline.cli.compile import compile_
from tfx_pipeline.cli.delta import delta
from tfx_pipeline.cli.fuse import fuse
from tfx_pipeline.cli.gate import gate
from tfx_pipeline.cli.lineage import lineage
from tfx_pipeline.cli.predict import predict
from tfx_pipeline.cli.rank import rank
from tfx_pipeline.cli.report import report
from tfx_pipeline.cli.run import run
from tfx_pipeline.cli.serve import serve
from tfx_pipeline.cli.simulate import simulate
from tfx_pipeline.cli.worker import worker

app = typer.Typer(
    name="equipoise",
    help="Ranking for many scenarios and many tasks with one model.",
    epilog="A first run: [bold]equipoise simulate && equipoise run configs/simulated.yaml[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"equipoise {importlib.metadata.version('equipoise')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


app.command(epilog="Example: equipoise run configs/kuairand.yaml --set data.path=PATH")(run)
app.command(
    epilog="Example: equipoise backfill configs/kuairand.yaml --set data.path=PATH "
    "--from 2022-04-25 --to 2022-05-04"
)(backfill)
app.command(epilog="Example: equipoise check configs/kuairand.yaml --set data.path=PATH")(check)
app.command(epilog="Example: equipoise simulate --days 14 --rows-per-day 100000 --out runs/logs")(
    simulate
)
app.command(
    epilog="Example: equipoise serve runs/simulated/serving/simulated --rest-api-port 8501"
)(serve)
app.command(epilog="""Example: equipoise predict simulated '{"user_id": "7", "item_id": "42"}'""")(
    predict
)
app.command(
    epilog="""Example: equipoise rank simulated --user '{"user_id": "7", "tab": "feed"}' """
    """--items '[{"item_id": "42"}, {"item_id": "43"}]'"""
)(rank)
app.command(
    epilog="Example: equipoise fuse runs/simulated --objective "
    "'0.7 * gauc(click) + 0.3 * gauc(like)'"
)(fuse)
app.command(epilog="Example: equipoise gate runs/simulated --explain")(gate)
app.command(epilog="Example: equipoise lineage 1732271045 --workdir runs/kuairand")(lineage)
app.command(epilog="Example: equipoise compare runs/ple runs/mmoe runs/pepnet")(compare)
app.command(epilog="Example: equipoise report runs/simulated")(report)
app.command(epilog="Example: equipoise worker configs/kuairand.yaml --workdir /shared/kuairand")(
    worker
)
app.command(
    "compile",
    epilog="Example: equipoise compile job.yaml daily.yaml --to kubeflow",
)(compile_)
app.add_typer(delta, name="delta")


def main() -> None:
    """Entry point of the `equipoise` script."""
    if not {"-v", "--verbose"} & set(sys.argv):
        # The pinned platform warns of its own age at every import.
        warnings.filterwarnings("ignore", category=FutureWarning)
    app()
