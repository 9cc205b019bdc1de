"""`equipoise serve`: a local stand-in for TensorFlow Serving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tfx_pipeline.cli.errors import explain_errors
from tfx_pipeline.cli.options import Verbose

_AS_MODEL_SERVER = "As tensorflow_model_server's, with its files in protobuf text format"


def serve(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder of version folders, as `run` leaves it."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model.", show_default="the folder's name"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port for gRPC; 0 picks a free one.")
    ] = 8500,
    rest_api_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port for REST and Prometheus metrics; 0 picks a free one.",
            show_default="no REST",
        ),
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(min=0.1, help="How often to look for new versions.")
    ] = 2.0,
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Several models, their version policies and labels, instead of DIR: a "
            "ModelServerConfig.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    config_poll_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How often to read that file again; 0 is never.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = 0.0,
    allow_unavailable_labels: Annotated[
        bool,
        typer.Option(
            "--allow-unavailable-labels",
            help="Lets a new label name a version that is not loaded yet, as none is at the start.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = False,
    batching_parameters_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Merges concurrent requests: BatchingParameters.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    ssl_config_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TLS, and mutual TLS, for gRPC: an SSLConfig.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Serve pushed models: a local stand-in for TensorFlow Serving.

    Answers TensorFlow Serving's gRPC and REST calls. For production, point
    tensorflow_model_server at DIR.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from serving.model_server import serve as serve_forever

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    with explain_errors(ValueError, OSError):
        serve_forever(
            text(directory),
            name or (directory.resolve().name if directory else "default"),
            model_config_file=text(model_config_file),
            config_poll_seconds=config_poll_seconds,
            labels_of_unavailable=allow_unavailable_labels,
            host=host,
            port=port,
            rest_port=rest_api_port,
            poll_seconds=poll_seconds,
            batching_parameters_file=text(batching_parameters_file),
            ssl_config_file=text(ssl_config_file),
        )
