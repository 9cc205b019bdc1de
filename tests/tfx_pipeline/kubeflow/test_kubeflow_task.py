"""What a container runs tells TFX's entry point of local copies, and Kubeflow of the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.runners import kubeflow_task
from tfx_pipeline.runners.kubeflow import COMMAND

SCHEMA = "title: tfx.Examples"
_ENTRY_POINT = """
import json, pathlib, sys
told = json.loads(sys.argv[sys.argv.index("--json_serialized_invocation_args") + 1])
pathlib.Path("told.json").write_text(json.dumps([told, sys.argv[1:]]))
report = pathlib.Path(told["outputs"]["outputFile"])
report.write_text(json.dumps({"artifacts": told["outputs"]["artifacts"]}))
sys.exit(int(told["inputs"]["parameterValues"]["status"]))
"""


def executor_input(folder: Path, scheme: str, status: int = 0) -> dict[str, Any]:
    def artifact(name: str, schema: str) -> dict[str, Any]:
        found = {
            "type": {"instanceSchema": schema},
            "uri": f"{scheme}bucket/run/{name}",
            "metadata": {"span": 3},
        }
        return {"artifacts": [found]}

    return {
        "inputs": {
            "parameterValues": {"data_path": f"{scheme}logs/days", "status": status},
            # Kubeflow's driver does not fill in the type of what is read.
            "artifacts": {"examples": artifact("examples", "")},
        },
        "outputs": {
            "artifacts": {
                "model": artifact("model", "title: tfx.Model"),
                "executor-logs": artifact("executor-logs", "title: system.Artifact"),
            },
            "outputFile": str(folder / "report.json"),
        },
    }


@pytest.mark.parametrize("uri", ["gs://../etc", "s3://bucket/../../etc/x", "minio://b/.."])
def test_an_artifact_stays_below_its_stores_folder(uri: str) -> None:
    with pytest.raises(ValueError, match="artifact: found the URI .*; expected one without `..`"):
        kubeflow_task.local_path(uri)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a task whose entry point writes down what it is told and reports its outputs."""
    (tmp_path / "stand_in_entry_point.py").write_text(_ENTRY_POINT)
    monkeypatch.setattr(kubeflow_task, "ENTRY_POINT", "stand_in_entry_point")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(tmp_path)

    def run(given: dict[str, Any], *more: str) -> int:
        name = "--json_serialized_invocation_args"
        types = {"artifacts": {"examples": {"artifactType": {"instanceSchema": SCHEMA}}}}
        definitions = ["--json_serialized_inputs_spec_args", json.dumps(types)]
        return kubeflow_task.run_task(
            ["--executor_class_path", "X", name, json.dumps(given), *definitions, *more]
        )

    return run


@pytest.mark.parametrize(("scheme", "folder"), [("gs://", "/gcs/"), ("s3://", "/s3/")])
def test_it_works_on_the_launchers_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, scheme: str, folder: str
) -> None:
    monkeypatch.setenv("ARTIFACT_LOCAL_PATH", str(tmp_path))
    folder = f"{tmp_path}{folder}"
    given = executor_input(tmp_path, scheme)
    # The launcher has begun the log.
    log = Path(f"{folder}bucket/run/executor-logs")
    log.parent.mkdir(parents=True)
    log.touch()
    assert run(given, "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner."
               "FnApiRunner", "--direct_running_mode=in_memory") == 0  # fmt: skip
    told, arguments = json.loads((tmp_path / "told.json").read_text())
    (read,) = told["inputs"]["artifacts"]["examples"]["artifacts"]
    (written,) = told["outputs"]["artifacts"]["model"]["artifacts"]
    assert set(told["outputs"]["artifacts"]) == {"model"} and log.is_file()
    assert read == {
        "type": {"instanceSchema": SCHEMA},
        "uri": f"{folder}bucket/run/examples",
        "metadata": {"span": 3},
    }
    assert written["uri"] == f"{folder}bucket/run/model"
    # What is no artifact is no copy of the launcher's.
    assert told["inputs"]["parameterValues"]["data_path"] == f"{scheme}logs/days"
    assert arguments[:2] == ["--executor_class_path", "X"]
    assert arguments[-1] == "--direct_running_mode=in_memory"
    assert Path(written["uri"]).is_dir()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == {"artifacts": {"model": given["outputs"]["artifacts"]["model"]}}


def test_where_beam_runs_elsewhere_it_works_on_the_store(tmp_path: Path, run: Any) -> None:
    given = executor_input(tmp_path, "gs://")
    assert run(given, "--runner=DataflowRunner") == 0
    told, _ = json.loads((tmp_path / "told.json").read_text())
    (read,) = told["inputs"]["artifacts"]["examples"]["artifacts"]
    assert read["uri"] == "gs://bucket/run/examples"
    assert read["type"] == {"instanceSchema": SCHEMA}
    expected = {"model": given["outputs"]["artifacts"]["model"]}
    assert told["outputs"]["artifacts"] == expected
    assert json.loads((tmp_path / "report.json").read_text()) == {"artifacts": expected}


def test_a_failure_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    monkeypatch.setenv("ARTIFACT_LOCAL_PATH", str(tmp_path))
    assert run(executor_input(tmp_path, "minio://", status=3)) == 3


@given(st.sampled_from(["gs", "s3", "minio"]), st.text(min_size=1), st.text())
def test_every_uri_comes_back(scheme: str, bucket: str, key: str) -> None:
    uri = f"{scheme}://{bucket}/{key}"
    path = kubeflow_task.local_path(uri)
    assert path.startswith("/") and kubeflow_task.store_uri(path) == uri


@pytest.mark.parametrize("path", ["/equipoise/runs/job/daily", "hdfs://a/b", "", "/gcsx/a"])
def test_other_paths_stay(path: str) -> None:
    assert kubeflow_task.local_path(path) == path == kubeflow_task.store_uri(path)


def test_an_image_without_the_package_says_so(tmp_path: Path) -> None:
    """An interpreter that sees no installed package stands in for such an image."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "--executor_class_path", "X"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip() == (
        "error: this image has no package tfx_pipeline; expected the one of deploy/Dockerfile, "
        "as kubeflow.image or kubeflow.tasks.ID.image"
    )
