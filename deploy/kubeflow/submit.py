"""Starts the run of a day on Kubeflow Pipelines, and waits for its end.

    python submit.py compiled.yaml --host http://localhost:8888 --day 2024-01-05

What `equipoise compile` wrote is sent as it is. The exit status is 0 when the run succeeded.
"""

from __future__ import annotations

import datetime
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Annotated

import kfp
import kfp_server_api
import typer
import urllib3
import yaml

_SECONDS_A_DAY = 24 * 60 * 60
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "ERROR")


def submit(
    compiled: Annotated[
        Path, typer.Argument(metavar="COMPILED", help="What `equipoise compile` wrote, as YAML.")
    ],
    host: Annotated[str, typer.Option(help="Where the API of Kubeflow Pipelines answers.")],
    day: Annotated[
        datetime.datetime | None,  # noqa: UP007 - what typer reads on Python 3.10
        typer.Option(formats=["%Y-%m-%d"], help="The day to train on."),
    ] = None,
    days_ago: Annotated[
        int | None,  # noqa: UP007
        typer.Option(min=1, help="The same, counted from today, in UTC."),
    ] = None,
    data_path: Annotated[
        str | None,  # noqa: UP007
        typer.Option(help="Where the logs lie, if not where the config says."),
    ] = None,
    experiment: Annotated[str, typer.Option(help="Kubeflow's folder of runs.")] = "equipoise",
    namespace: Annotated[
        str | None,  # noqa: UP007
        typer.Option(help="Whose runs these are, where Kubeflow tells users apart."),
    ] = None,
    service_account: Annotated[
        str | None,  # noqa: UP007
        typer.Option(help="What the tasks run as, where they ask a cloud for something."),
    ] = None,
    timeout: Annotated[int, typer.Option(help="Seconds to wait.")] = _SECONDS_A_DAY,
    poll: Annotated[float, typer.Option(help="Seconds between two looks at it.")] = 20.0,
) -> None:
    """Start the run of a day, and wait for its end."""
    if (day is None) == (days_ago is None):
        raise typer.BadParameter("one of --day and --days-ago")
    if urllib.parse.urlsplit(host).scheme not in ("http", "https"):
        raise typer.BadParameter("http://HOST:PORT or https://HOST", param_hint="--host")
    if not compiled.is_file():
        raise typer.BadParameter(f"no file {compiled}", param_hint="COMPILED")
    today = datetime.datetime.now(datetime.timezone.utc)
    due = f"{day or today - datetime.timedelta(days=days_ago or 0):%Y-%m-%d}"
    client = kfp.Client(host=host, namespace=namespace or "kubeflow")
    run = client.create_run_from_pipeline_package(
        str(compiled),
        arguments={"day": due, **({"data_path": data_path} if data_path else {})},
        run_name=f"{compiled.stem} {due}",
        experiment_name=experiment,
        namespace=namespace,
        service_account=service_account,
        # By itself the server takes its own.
        pipeline_root=_pipeline_root(compiled),
    )
    print(f"day {due}: run {run.run_id}", flush=True)
    state = _end(client, run.run_id, time.monotonic() + timeout, poll)
    print(f"day {due}: run {run.run_id} {state or f'still goes on after {timeout} s'}")
    if state != "SUCCEEDED":
        sys.exit(1)


def _pipeline_root(compiled: Path) -> str | None:
    pipeline, *_ = yaml.safe_load_all(compiled.read_text(encoding="utf-8"))
    root: str | None = pipeline.get("defaultPipelineRoot")
    return root


def _end(client: kfp.Client, run_id: str, deadline: float, poll: float) -> str | None:
    """How a run ended; None where it has not by then.

    A server that does not answer for a while, or has an error of its own, is asked again: the run
    goes on without it.
    """
    while time.monotonic() < deadline:
        try:
            state = str(client.get_run(run_id).state).upper()
        except kfp_server_api.ApiException as error:
            if (error.status or 500) < 500:
                raise
            print(f"asking again: {error.status} {error.reason}", flush=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            print(f"asking again: {error}", flush=True)
        else:
            if state in _ENDED:
                return state
        time.sleep(poll)
    return None


if __name__ == "__main__":
    typer.run(submit)
