"""A local executor of a compiled spec: it stands in for Kubeflow, and is no Kubeflow run.

    python local_executor.py RUNS

runs every task in a process of its own, one after the other, in the order that the spec's
dependencies ask for. One of them is started by the command line of its container; the others begin
where that has imported TFX, in a fork of this process: the arguments are the same. Around each it
does what Kubeflow's driver and launcher do (read from their sources, backend/src/v2/driver and
backend/src/v2/component/launcher_v2.go): it fills in the ExecutorInput, copies the artifacts that
the task reads from the object store, here a folder, to its local paths, runs it, and takes up to
the store and into the metadata what it reported. As there, an input comes as the metadata store
knows it, by a number, without its type and with properties that Kubeflow added; outputs have no
names; and the launcher has begun a file for the task's log, which is one more output. A task starts
with nothing else on disk, and stores know no empty folders.

RUNS is a JSON file: `store` and `scratch`, folders, and `runs`, each with its `spec`, `id`,
`parameters`, the task to start `literally`, and the file to `report` to. It needs the environment
of `make kubeflow`.
"""

from __future__ import annotations

import graphlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiled import Compiled, read
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tfx_pipeline.runners.kubeflow import COMMAND
from tfx_pipeline.runners.kubeflow_task import ENTRY_POINT, run_task

_LOGS = "executor-logs"


class LocalExecutor:
    """Runs a compiled spec on this machine.

    Args:
      compiled: The spec.
      store: Folder that is the object store.
      scratch: Folder for what a task has on disk; emptied after each.
      parameters: Values of the runtime parameters.
      run: Id of the run.
      literally: The task that is started by its container's command line.
    """

    def __init__(
        self,
        compiled: Compiled,
        store: Path,
        scratch: Path,
        parameters: Mapping[str, str],
        run: str,
        literally: str,
    ):
        self._compiled = compiled
        self._store = store
        self._scratch = scratch
        self._parameters = {**self._defaults(), **parameters}
        self._run = run
        self._literally = literally
        self._outputs: dict[str, dict[str, Any]] = {}
        self._read = 0

    def run(self) -> dict[str, Any]:
        """Runs every task; the artifacts that came out, by task and output."""
        tasks = self._compiled.pipeline["root"]["dag"]["tasks"]
        order = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
        for name in graphlib.TopologicalSorter(order).static_order():
            print(f"== {name}", flush=True)
            self._outputs[name] = self._run_task(name, tasks[name])
        return self._outputs

    def _defaults(self) -> dict[str, Any]:
        known = self._compiled.pipeline["root"]["inputDefinitions"]["parameters"]
        return {name: p["defaultValue"] for name, p in known.items() if "defaultValue" in p}

    def _run_task(self, name: str, task: Mapping[str, Any]) -> dict[str, Any]:
        component = self._compiled.pipeline["components"][task["componentRef"]["name"]]
        container = self._compiled.deployment["executors"][component["executorLabel"]]["container"]
        given = self._executor_input(name, task, component)
        inputs, outputs = given["inputs"]["artifacts"], given["outputs"]["artifacts"]
        for found in inputs.values():
            self._copy(found["artifacts"][0]["uri"], download=True)
        for made in outputs.values():
            self._local(made["artifacts"][0]["uri"]).parent.mkdir(parents=True, exist_ok=True)
        self._local(outputs[_LOGS]["artifacts"][0]["uri"]).touch()
        text = json_format.MessageToJson(
            json_format.ParseDict(given, pipeline_spec_pb2.ExecutorInput())
        )
        args = [a.replace("{{$}}", text) for a in container["args"]]
        here = self._scratch / "work"
        here.mkdir(parents=True)
        if name == self._literally:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, "PATH": path, "ARTIFACT_LOCAL_PATH": str(self._scratch)}
            subprocess.run([*container["command"], *args], check=True, cwd=here, env=environment)
        else:
            assert container["command"] == COMMAND, name
            self._run_forked(args, here)
        report = pipeline_spec_pb2.ExecutorOutput()
        json_format.Parse(Path(given["outputs"]["outputFile"]).read_text(), report)
        reported = json_format.MessageToDict(report).get("artifacts", {})
        for key, made in outputs.items():
            artifact = made["artifacts"][0]
            for told in reported.get(key, {}).get("artifacts", [])[:1]:
                artifact["uri"] = told.get("uri") or artifact["uri"]
                artifact["metadata"] |= told.get("metadata", {})
            self._copy(artifact["uri"], download=False)
        shutil.rmtree(self._scratch)
        return {key: made["artifacts"][0] for key, made in outputs.items() if key != _LOGS}

    def _run_forked(self, args: Sequence[str], here: Path) -> None:
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            assert status == 0, f"status {status} of {args}"
            return
        status = 1
        try:
            os.chdir(here)
            os.environ["ARTIFACT_LOCAL_PATH"] = str(self._scratch)
            status = run_task(args)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _executor_input(
        self, name: str, task: Mapping[str, Any], component: Mapping[str, Any]
    ) -> dict[str, Any]:
        values = {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                values[key] = self._parameters[source["componentInputParameter"]]
            else:
                values[key] = source["runtimeValue"]["constant"]
        artifacts = {}
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            made = source["taskOutputArtifact"]
            found = self._outputs[made["producerTask"]][made["outputArtifactKey"]]
            self._read += 1
            known = {
                "name": str(self._read),
                "type": {"instanceSchema": ""},
                "uri": found["uri"],
                "metadata": {
                    **found["metadata"],
                    "display_name": made["outputArtifactKey"],
                    "store_session_info": "{}",
                },
            }
            artifacts[key] = {"artifacts": [known]}
        root = self._compiled.pipeline["defaultPipelineRoot"]
        pipeline = self._compiled.pipeline["pipelineInfo"]["name"]
        made_here = f"{root}/{pipeline}/{self._run}/{name}/{uuid.uuid4()}"
        defined = {
            **component.get("outputDefinitions", {}).get("artifacts", {}),
            _LOGS: {"artifactType": {"schemaTitle": "system.Artifact"}},
        }
        outputs = {
            key: {
                "artifacts": [
                    {
                        "type": made["artifactType"],
                        "uri": f"{made_here}/{key}",
                        "metadata": dict(made.get("metadata", {})),
                    }
                ]
            }
            for key, made in defined.items()
        }
        return {
            "inputs": {"parameterValues": values, "artifacts": artifacts},
            "outputs": {
                "artifacts": outputs,
                "outputFile": str(self._scratch / "kfp_outputs" / "output_metadata.json"),
            },
        }

    def _local(self, uri: str) -> Path:
        scheme, _, key = uri.partition("://")
        return self._scratch / {"gs": "gcs"}.get(scheme, scheme) / key

    def _copy(self, uri: str, *, download: bool) -> None:
        assert "://" in uri, f"{uri} is in no store"
        local, stored = self._local(uri), self._store / uri.partition("://")[2]
        source, target = (stored, local) if download else (local, stored)
        for file in source.rglob("*"):
            if file.is_file():
                to = target / file.relative_to(source)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    for name in (ENTRY_POINT, "tfx_pipeline.pipeline", "tfx_pipeline.run_fn"):
        importlib.import_module(name)
    for run in given["runs"]:
        executor = LocalExecutor(
            read(Path(run["spec"])),
            Path(given["store"]),
            Path(given["scratch"]),
            run["parameters"],
            run["id"],
            run["literally"],
        )
        Path(run["report"]).write_text(json.dumps(executor.run()))


if __name__ == "__main__":
    main()
