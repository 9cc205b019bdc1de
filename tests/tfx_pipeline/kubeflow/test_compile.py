"""The compiled file: what Kubeflow's protos take, and the graph of the local run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format, message
from tfx import v1 as tfx
from typer.testing import CliRunner

from tfx_pipeline.cli import app
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.pipeline import create_pipeline
from tfx_pipeline.runners.beam_options import pipeline_args
from tfx_pipeline.runners.kubeflow import COMMAND, kubeflow_problems

from .conftest import CONFIG, CompileJobs, compile_arguments

ROOT = CONFIG.parents[1]
SECTION = """
kubeflow:
  image: registry.example.com/equipoise:1
  pipeline_root: minio://mlpipeline/v2/artifacts
  volume: equipoise-runs
  secrets:
    logs: {access_key: AWS_ACCESS_KEY_ID, secret_key: AWS_SECRET_ACCESS_KEY}
  tasks:
    LogExampleGen: {cpu: 4, memory: 16.5}
    Evaluator: {node_selector: {pool: spot}}
    Trainer:
      cpu: 8
      memory: 32
      gpu: 1
      image: registry.example.com/equipoise:1-gpu
      node_selector: {pool: gpu, zone: a}
beam:
  components:
    Transform: {options: {direct_num_workers: 2}}
"""
LOGS = "data.path=s3://logs/days"
MOUNT = "/equipoise/runs"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "job.yaml"
    path.write_text(f"extends: {CONFIG}\nname: my_job\n{SECTION}")
    return path


@pytest.fixture(scope="module")
def compiled(
    job: Path,
    compile_jobs: CompileJobs,
    kubeflow_bin: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What Kubeflow's protos read from each form of the file, and the files."""
    folder = tmp_path_factory.mktemp("compiled")
    files = {"daily.yaml": [], "daily.json": [], "full.yaml": ["--full"]}
    arguments = {
        name: compile_arguments(folder / name, [LOGS], *flags, config=job)
        for name, flags in files.items()
    }
    for name, done in zip(files, compile_jobs(*arguments.values()), strict=True):
        assert done["returncode"] == 0, done
        assert done["stderr"] == "" and "parameters day, data_path" in done["stdout"]
        arguments[name] = done["compiled"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    return {"folder": folder, **arguments}


@pytest.mark.e2e
def test_the_installed_script_writes_the_same(
    compiled: dict[str, Any], job: Path, kubeflow_bin: Path, tmp_path: Path
) -> None:
    arguments = compile_arguments(tmp_path / "daily.yaml", [LOGS], config=job)
    done = subprocess.run(
        [kubeflow_bin / "equipoise", "compile", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    same = (compiled["folder"] / "daily.yaml").read_text()
    assert (tmp_path / "daily.yaml").read_text() == same


def local_nodes(job: Path, full: bool) -> dict[str, Any]:
    """The components of the same day, as the local runner gets them."""
    config = load_config(job, [LOGS]).with_full(full)
    pipeline = create_pipeline(config, workdir=f"{MOUNT}/my_job", day="2024-01-05")
    return {node.id: node for node in pipeline.components}


@pytest.mark.e2e
@pytest.mark.parametrize(("name", "full"), [("daily.yaml", False), ("full.yaml", True)])
def test_the_graph_is_the_local_one(
    compiled: dict[str, Any], job: Path, name: str, full: bool
) -> None:
    spec, nodes = compiled[name]["pipeline"], local_nodes(job, full)
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == set(nodes) == set(spec["components"])
    assert ("FrozenGraph" in tasks) != full
    for name, node in nodes.items():
        task = tasks[name]
        assert task["componentRef"]["name"] == name
        assert set(task.get("dependentTasks", [])) == {n.id for n in node.upstream_nodes}
        edges = {
            key: (c.producer_component_id, c.output_key) for key, c in node.inputs.items() if c
        }
        found = {
            key: tuple(source["taskOutputArtifact"][part] for part in _SOURCE)
            for key, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        assert found == edges
        outputs = spec["components"][name].get("outputDefinitions", {}).get("artifacts", {})
        assert set(outputs) == set(node.outputs)
        given = task.get("inputs", {}).get("parameters", {})
        expected = {key: value for key, value in node.exec_properties.items() if value is not None}
        assert set(given) == set(expected)
        for key, value in expected.items():
            if key in ("day", "data_path"):
                # What the local run fixes.
                assert given[key] == {"componentInputParameter": key}
            elif (name, key) == ("RecordDay", "copies"):
                # There later days find no artifacts where this run had them.
                assert (given[key]["runtimeValue"]["constant"], value) == (1, 0)
            else:
                assert _plain(given[key]["runtimeValue"]["constant"]) == _plain(value), (name, key)


_SOURCE = ("producerTask", "outputArtifactKey")


def _plain(value: Any) -> Any:
    """A parameter's value; what is JSON in a text, as what it says."""
    if isinstance(value, message.Message):
        return json.loads(json_format.MessageToJson(value))
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value


@pytest.mark.e2e
def test_runtime_parameters_are_the_day_and_the_logs(compiled: dict[str, Any]) -> None:
    for name in ("daily.yaml", "full.yaml"):
        spec = compiled[name]["pipeline"]
        assert spec["root"]["inputDefinitions"]["parameters"] == {
            "day": {"parameterType": "STRING"},
            "data_path": {
                "parameterType": "STRING",
                "defaultValue": "s3://logs/days",
                "isOptional": True,
            },
        }
        assert spec["pipelineInfo"]["name"] == "my-job"
        assert spec["defaultPipelineRoot"] == "minio://mlpipeline/v2/artifacts"
        # A day may have to do something else with the same parameters.
        tasks = spec["root"]["dag"]["tasks"]
        assert not any("cachingOptions" in task for task in tasks.values())
        # Of the tasks only this one goes on where it was.
        assert tasks["Trainer"]["retryPolicy"] == {"maxRetryCount": 2}
        assert [name for name, task in tasks.items() if "retryPolicy" in task] == ["Trainer"]


@pytest.mark.e2e
def test_json_holds_what_yaml_holds(compiled: dict[str, Any]) -> None:
    assert compiled["daily.json"] == compiled["daily.yaml"]
    pipeline, platform = yaml.safe_load_all((compiled["folder"] / "daily.yaml").read_text())
    assert "pipelineInfo" in pipeline and "platforms" in platform


@pytest.mark.e2e
def test_nothing_in_it_is_a_resolver_or_an_importer(compiled: dict[str, Any]) -> None:
    for name in ("daily.yaml", "full.yaml"):
        executors = compiled[name]["deployment"]["executors"]
        assert {kind for executor in executors.values() for kind in executor} == {"container"}


@pytest.mark.e2e
def test_tasks_ask_for_what_the_config_says(compiled: dict[str, Any]) -> None:
    executors = compiled["daily.yaml"]["deployment"]["executors"]
    containers = {name.removesuffix("_executor"): e["container"] for name, e in executors.items()}
    assert containers["LogExampleGen"]["resources"] == {"cpuLimit": 4, "memoryLimit": 16.5}
    assert containers["Trainer"]["resources"] == {
        "cpuLimit": 8,
        "memoryLimit": 32,
        "accelerator": {"type": "nvidia.com/gpu", "count": "1"},
    }
    asking = {name for name, container in containers.items() if "resources" in container}
    assert asking == {"LogExampleGen", "Trainer"}
    images = {name: container["image"] for name, container in containers.items()}
    assert images.pop("Trainer") == "registry.example.com/equipoise:1-gpu"
    assert set(images.values()) == {"registry.example.com/equipoise:1"}
    assert all(container["command"] == COMMAND for container in containers.values())


@pytest.mark.e2e
def test_every_task_has_the_volume_and_one_the_secrets(compiled: dict[str, Any]) -> None:
    compiled = compiled["daily.yaml"]
    deployment = compiled["platform"]["platforms"]["kubernetes"]["deploymentSpec"]
    executors = deployment["executors"]
    assert set(executors) == set(compiled["deployment"]["executors"])
    for executor in executors.values():
        assert executor["pvcMount"] == [{"constant": "equipoise-runs", "mountPath": MOUNT}]
    assert [n for n, e in executors.items() if "secretAsEnv" in e] == ["LogExampleGen_executor"]
    (secret,) = executors["LogExampleGen_executor"]["secretAsEnv"]
    assert secret["secretName"] == "logs"
    assert {"secretKey": "access_key", "envVar": "AWS_ACCESS_KEY_ID"} in secret["keyToEnv"]
    selectors = {name: e["nodeSelector"] for name, e in executors.items() if "nodeSelector" in e}
    assert selectors == {
        "Evaluator_executor": {"labels": {"pool": "spot"}},
        "Trainer_executor": {"labels": {"pool": "gpu", "zone": "a"}},
    }


@pytest.mark.e2e
def test_beam_tasks_get_their_options(compiled: dict[str, Any], job: Path) -> None:
    config = load_config(job, [LOGS])
    executors = compiled["daily.yaml"]["deployment"]["executors"]
    on_beam = 0
    for name, node in local_nodes(job, full=False).items():
        args = executors[f"{name}_executor"]["container"]["args"]
        more = args[args.index("--json_serialized_inputs_spec_args") + 2 :]
        beam = isinstance(node, tfx.types.BaseBeamComponent)
        assert more == (pipeline_args(config.beam, name) if beam else [])
        on_beam += beam
    assert on_beam == 4
    assert "--direct_num_workers=2" in executors["Transform_executor"]["container"]["args"]


@pytest.mark.e2e
def test_all_that_a_container_runs_is_in_the_wheel(
    compiled: dict[str, Any], tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", *_PACKAGES):
        (source / name).symlink_to(ROOT / name)
    installed = tmp_path / "installed"
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", installed, source], check=True
    )
    paths = {"tfx_pipeline.runners.kubeflow_task.run_task"}
    for name in ("daily.yaml", "full.yaml"):
        for executor in compiled[name]["deployment"]["executors"].values():
            args = executor["container"]["args"]
            paths.add(args[args.index("--executor_class_path") + 1])
        spec = compiled[name]["pipeline"]
        for task in spec["root"]["dag"]["tasks"].values():
            given = task.get("inputs", {}).get("parameters", {})
            for key in {"run_fn", "preprocessing_fn"} & set(given):
                paths.add(given[key]["runtimeValue"]["constant"])
        for component in spec["components"].values():
            for made in component.get("outputDefinitions", {}).get("artifacts", {}).values():
                title = yaml.safe_load(made["artifactType"]["instanceSchema"])["title"]
                if not title.startswith("tfx."):
                    paths.add(title)
    ours = {path for path in paths if not path.startswith("tfx.")}
    assert {"tfx_pipeline.run_fn.run_fn", "tfx_pipeline.FeatureState"} <= ours
    assert "transforms.preprocessing.preprocessing_fn" in ours and len(ours) >= 18
    script = (
        "import importlib, sys\n"
        "for path in sys.argv[2:]:\n"
        "    module, _, name = path.rpartition('.')\n"
        "    module = importlib.import_module(module)\n"
        "    getattr(module, name)\n"
        "    if not path.startswith('tfx.'):\n"
        "        assert module.__file__.startswith(sys.argv[1]), module.__file__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(installed), *sorted(paths)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


_PACKAGES = ("tfx_pipeline", "transforms", "keras_models", "serving")


@pytest.mark.parametrize(
    ("settings", "where", "found"),
    [
        (["data.path=logs"], "data.path", "logs, a folder below"),
        (["kubeflow.tasks.Gaet.cpu=1"], "kubeflow.tasks.Gaet", "`Gaet`"),
        (["kubeflow.tasks.Gate.gpu=1"], "kubeflow.tasks.Gate.gpu", "1"),
        (["training.distribution=multi_worker"], "training.distribution", "multi_worker"),
        (["beam.options.num_wokers=2"], "beam.options.num_wokers", "does not know"),
        (
            ["beam.components.Evaluator={runner: portable, options: {job_endpoint: 'host:1'}}"],
            "kubeflow.pipeline_root",
            "and Evaluator on Beam's workers, which read it",
        ),
    ],
)
def test_what_cannot_run_there_is_refused(
    job: Path, tmp_path: Path, settings: list[str], where: str, found: str
) -> None:
    assert _problems(load_config(job, [LOGS]), tmp_path / "a.yaml") == {}
    problems = _problems(load_config(job, [LOGS, *settings]), tmp_path / "a.yaml")
    assert set(problems) == {where} and found in problems[where]


def test_what_a_day_finds_by_itself_is_refused(job: Path, tmp_path: Path) -> None:
    config = load_config(job, [LOGS])
    graph = config.features.model_copy(update={"transform_graph": tmp_path})
    start = config.training.model_copy(update={"start": tmp_path})
    state = config.data.model_copy(update={"state": tmp_path})
    serving = config.serving.model_copy(update={"infra_validator": True})
    spoilt = config.model_copy(
        update={"features": graph, "training": start, "data": state, "serving": serving}
    )
    assert set(_problems(spoilt, tmp_path / "a.yaml")) == {
        *("features.transform_graph", "training.start", "data.state", "serving.infra_validator")
    }


def test_without_a_section_or_a_place_it_says_so(job: Path, tmp_path: Path) -> None:
    assert set(_problems(load_config(CONFIG, [LOGS]), tmp_path / "a.yaml")) == {"kubeflow"}
    config = load_config(job, [LOGS])
    assert "`.txt`" in _problems(config, tmp_path / "a.txt")[str(tmp_path / "a.txt")]
    nowhere = tmp_path / "no" / "a.yaml"
    assert "no folder" in _problems(config, nowhere)[str(nowhere)]


def _problems(config: Config, out: Path) -> dict[str, str]:
    """By where they are; that kfp has an environment of its own is left out."""
    return {p.where: p.found for p in kubeflow_problems(config, out) if p.where != "--to kubeflow"}


def test_an_environment_without_kfp_is_named(job: Path, tmp_path: Path) -> None:
    arguments = compile_arguments(tmp_path / "daily.yaml", [LOGS], config=job)
    done = CliRunner().invoke(app, ["compile", *arguments])
    assert done.exit_code == 2 and list(tmp_path.iterdir()) == []
    text = " ".join(done.stderr.split())
    assert "no package kfp in this environment" in text
    assert "make kubeflow; then .venv-kubeflow/bin/equipoise compile" in text
