"""What the container of a Kubeflow task runs: TFX's own entry point, on local copies.

Kubeflow's launcher copies the artifacts that a task reads to below `/gcs`, `/s3` or `/minio`, and
from there to the store what it wrote. TFX's entry point takes no notice, and would have TensorFlow
ask the store, which knows gs:// alone. So it is told of the copies, and what it reports is told of
the store again.

The workers of a Beam that runs elsewhere see no folder of this container; such a task works on the
store itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx_pipeline.runners.beam_options import RUNNERS

ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
"""TFX's."""

_INPUT = "--json_serialized_invocation_args"
_STORES = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


def local_path(uri: str) -> str:
    """Where the launcher has its copy of an artifact; what is in no store stays as it is."""
    for scheme, folder in _STORES.items():
        if uri.startswith(scheme):
            return _root() + folder + uri.removeprefix(scheme)
    return uri


def store_uri(path: str) -> str:
    """The artifact that a copy of the launcher's is of; another path stays as it is."""
    for scheme, folder in _STORES.items():
        if path.startswith(_root() + folder):
            return scheme + path.removeprefix(_root() + folder)
    return path


def run_task(arguments: Sequence[str]) -> int:
    """Runs one task.

    Args:
      arguments: Those of TFX's entry point.

    Returns:
      Its exit status.
    """
    command = [sys.executable, "-m", ENTRY_POINT]
    if _runs_elsewhere(arguments):
        return subprocess.run([*command, *arguments]).returncode
    at = arguments.index(_INPUT) + 1
    executor_input = json.loads(arguments[at])
    told = {name: _renamed(part, local_path) for name, part in executor_input.items()}
    # TFX's executors write into folders that are there, and the launcher makes those above alone.
    for made in told["outputs"].get("artifacts", {}).values():
        for artifact in made["artifacts"]:
            os.makedirs(artifact["uri"], exist_ok=True)
    done = subprocess.run([*command, *arguments[:at], json.dumps(told), *arguments[at + 1 :]])
    report = Path(executor_input["outputs"]["outputFile"])
    if done.returncode == 0:
        report.write_text(json.dumps(_renamed(json.loads(report.read_text()), store_uri)))
    return done.returncode


def _root() -> str:
    """Where the launcher begins its paths; another place than / serves its own debugging."""
    return os.environ.get("ARTIFACT_LOCAL_PATH", "").rstrip("/")


def _runs_elsewhere(arguments: Sequence[str]) -> bool:
    runners = [a.removeprefix("--runner=") for a in arguments if a.startswith("--runner=")]
    return any(runner != RUNNERS["direct"] for runner in runners)


def _renamed(part: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """Inputs, outputs or a report, with other URIs of its artifacts."""
    lists = {
        name: {"artifacts": [{**a, "uri": rename(a["uri"])} for a in found.get("artifacts", [])]}
        for name, found in part.get("artifacts", {}).items()
    }
    return {**part, "artifacts": lists} if lists else dict(part)


if __name__ == "__main__":
    sys.exit(run_task(sys.argv[1:]))
