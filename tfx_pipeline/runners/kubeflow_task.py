"""What the container of a Kubeflow task runs: TFX's own entry point, on local copies.

Kubeflow's launcher copies the artifacts that a task reads to below `/gcs`, `/s3` or `/minio`, and
from there to the store what it wrote. TFX's entry point takes no notice, and would have TensorFlow
ask the store, which knows gs:// alone. So it is told of the copies, and what it reports is told of
the store again.

The workers of a Beam that runs elsewhere see no folder of this container; such a task works on the
store itself.

TFX makes of each input an artifact of the class that its type names. Kubeflow's driver leaves the
types of inputs empty, so they are filled in from the component's own definition, which is among the
arguments. Nor does TFX know of the outputs that Kubeflow adds for itself.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx_pipeline.runners.beam_options import RUNNERS

ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
"""TFX's."""

_INPUT = "--json_serialized_invocation_args"
_DEFINITIONS = "--json_serialized_inputs_spec_args"
_LOGS = "executor-logs"
"""Kubeflow's own output: a file of what the task prints, which the launcher has begun already."""

_STORES = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


def local_path(uri: str) -> str:
    """Where the launcher has its copy of an artifact; what is in no store stays as it is.

    Raises:
      ValueError: if it would not be below the store's folder.
    """
    for scheme, folder in _STORES.items():
        if uri.startswith(scheme):
            path = uri.removeprefix(scheme)
            if ".." in path.split("/"):
                raise ValueError(f"artifact: found the URI {uri}; expected one without `..`")
            return _root() + folder + path
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
    at = arguments.index(_INPUT) + 1
    told = _as_tfx_takes_it(
        json.loads(arguments[at]), json.loads(arguments[arguments.index(_DEFINITIONS) + 1])
    )
    elsewhere = _runs_elsewhere(arguments)
    if not elsewhere:
        told = {name: _renamed(part, local_path) for name, part in told.items()}
        # TFX's executors write into folders that are there; the launcher makes those above alone.
        for made in told["outputs"].get("artifacts", {}).values():
            for artifact in made["artifacts"]:
                os.makedirs(artifact["uri"], exist_ok=True)
    status = _run_entry_point([*arguments[:at], json.dumps(told), *arguments[at + 1 :]])
    report = Path(told["outputs"]["outputFile"])
    if status == 0 and not elsewhere:
        report.write_text(json.dumps(_renamed(json.loads(report.read_text()), store_uri)))
    return status


def _run_entry_point(arguments: Sequence[str]) -> int:
    """TFX's entry point, as `python -m` runs it; its exit status."""
    sys.argv = [ENTRY_POINT, *arguments]
    try:
        runpy.run_module(ENTRY_POINT, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _root() -> str:
    """Where the launcher begins its paths; another place than / serves its own debugging."""
    return os.environ.get("ARTIFACT_LOCAL_PATH", "").rstrip("/")


def _as_tfx_takes_it(
    executor_input: Mapping[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    """An ExecutorInput whose inputs have their types, without what Kubeflow adds to the outputs.

    Args:
      executor_input: As Kubeflow's launcher fills it in.
      definitions: The component's ComponentInputsSpec.
    """
    inputs, outputs = executor_input.get("inputs", {}), executor_input["outputs"]
    typed = {
        name: {
            "artifacts": [
                {**artifact, "type": definitions["artifacts"][name]["artifactType"]}
                for artifact in found.get("artifacts", [])
            ]
        }
        for name, found in inputs.get("artifacts", {}).items()
    }
    own = {name: made for name, made in outputs.get("artifacts", {}).items() if name != _LOGS}
    return {
        **executor_input,
        "inputs": {**inputs, "artifacts": typed},
        "outputs": {**outputs, "artifacts": own},
    }


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
