"""Compiles the run of a day for Kubeflow Pipelines."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tfx import v1 as tfx
from tfx.v1.dsl.experimental import RuntimeParameter

from tfx_pipeline.config import Config
from tfx_pipeline.config.beam import BEAM_COMPONENTS
from tfx_pipeline.config.kubeflow import KubeflowConfig, KubeflowTaskConfig
from tfx_pipeline.pipeline import create_pipeline
from tfx_pipeline.runners.beam_problems import beam_problems
from tfx_pipeline.whole_file import write_whole
from transforms.problems import InputError, Problem

SUFFIXES = (".yaml", ".yml", ".json")

# Said by the first task of a run, before it does anything.
_CHECK = (
    "import importlib.util as u, sys; "
    'sys.exit(next((f"error: this image has no package {n}; expected the one of deploy/Dockerfile, '
    'as kubeflow.image or kubeflow.tasks.ID.image" '
    'for n in ("tfx_pipeline", "kfp") if u.find_spec(n) is None), None))'
)
_RETRIES = 2

COMMAND = [
    *("sh", "-c"),
    f'python -c \'{_CHECK}\' && exec python -m tfx_pipeline.runners.kubeflow_task "$0" "$@"',
]
"""What a task's container runs; the arguments of TFX's entry point follow."""


def compile_pipeline(config: Config, output: Path) -> None:
    """Writes the run of a day as Kubeflow Pipelines takes it.

    Runtime parameters are `day` and `data_path`. All else is as it is now; what the image holds has
    to be the same program. With `config.daily.full` a run begins a lineage, else it goes on from an
    earlier day's.

    Args:
      config: The job's.
      output: `.yaml`: the pipeline's and the platform's spec, one document after the other, as
        Kubeflow's SDK and page take them; `.json`: both in one object, as its REST API does.

    Raises:
      InputError: naming all that keeps it from running there.
    """
    if problems := kubeflow_problems(config, output):
        raise InputError(problems)
    assert config.kubeflow is not None
    pipeline = kubeflow_pipeline(config)
    for node in pipeline.components:
        task = config.kubeflow.tasks.get(node.id)
        if task is not None and (task.cpu or task.memory or task.gpu):
            node.with_platform_config(_resources(task))
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            default_image=_images(config.kubeflow),
            default_commands=COMMAND,
            use_pipeline_spec_2_1=True,
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    spec["defaultPipelineRoot"] = config.kubeflow.pipeline_root
    # A pod that was evicted; the next one goes on from its last checkpoint.
    spec["root"]["dag"]["tasks"]["Trainer"]["retryPolicy"] = {"maxRetryCount": _RETRIES}
    # TFX leaves a runtime parameter's default out.
    spec["root"]["inputDefinitions"]["parameters"]["data_path"] |= {
        "defaultValue": str(config.data.path),
        "isOptional": True,
    }
    platform = platform_spec(config.kubeflow, [node.id for node in pipeline.components])
    if output.suffix == ".json":
        text = json.dumps({"pipeline_spec": spec, "platform_spec": platform}, indent=2) + "\n"
    else:
        text = yaml.safe_dump_all([spec, platform], sort_keys=True)
    write_whole(output, text, "the compiled pipeline")


def kubeflow_pipeline(config: Config) -> tfx.dsl.Pipeline:
    """The run of a day, with the day and the logs' place as runtime parameters.

    Args:
      config: The job's, with a section `kubeflow`.
    """
    settings = config.kubeflow
    assert settings is not None
    pipeline = create_pipeline(
        config,
        workdir=os.path.join(settings.mount_path, config.name),
        pipeline_root=settings.pipeline_root,
        day=RuntimeParameter("day", str),
        data_path=RuntimeParameter("data_path", str),
        keep_copies=True,
    )
    # Kubeflow allows no underscores.
    pipeline.pipeline_info.pipeline_name = config.name.replace("_", "-")
    # Nothing is known yet of the files that a run reads, nor of the days that it goes on from: with
    # the same parameters it may have to do something else.
    pipeline.enable_cache = False
    return pipeline


def platform_spec(settings: KubeflowConfig, components: list[str]) -> dict[str, Any]:
    """What Kubernetes is asked for beside cores and memory: the volume, secrets, and nodes.

    Args:
      settings: The config's section.
      components: Ids.
    """
    volume = [{"constant": settings.volume, "mountPath": settings.mount_path}]
    executors = {}
    for component in components:
        # The names that TFX gives to the executors of its components.
        own: dict[str, Any] = {"pvcMount": volume}
        executors[f"{component}_executor"] = own
        # No other task reads logs, and a launcher takes such variables for those of its store.
        if settings.secrets and component == "LogExampleGen":
            own["secretAsEnv"] = [
                {
                    "secretName": secret,
                    "keyToEnv": [{"secretKey": k, "envVar": v} for k, v in variables.items()],
                }
                for secret, variables in settings.secrets.items()
            ]
        task = settings.tasks.get(component)
        if task is not None and task.node_selector:
            own["nodeSelector"] = {"labels": dict(task.node_selector)}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def kubeflow_problems(config: Config, output: Path) -> list[Problem]:
    """What keeps a config from being compiled, or from running on Kubeflow Pipelines.

    Args:
      config: The job's.
      output: Where it is to be written.
    """
    problems = []
    if output.suffix not in SUFFIXES:
        problems.append(Problem(str(output), f"`{output.suffix}`", f"{', '.join(SUFFIXES)}"))
    if not output.parent.is_dir():
        problems.append(Problem(str(output), f"no folder {output.parent}", "a folder that exists"))
    if importlib.util.find_spec("kfp") is None:
        problems.append(
            Problem(
                "--to kubeflow",
                "no package kfp in this environment",
                "the environment of requirements/kubeflow.txt",
                "make kubeflow; then .venv-kubeflow/bin/equipoise compile.",
            )
        )
    settings = config.kubeflow
    if settings is None:
        problems.append(
            Problem(
                "kubeflow",
                "no such section",
                "kubeflow.image, kubeflow.pipeline_root and kubeflow.volume",
                "docs/how-to/kubeflow.md says how.",
            )
        )
    if "://" not in str(config.data.path) and not os.path.isabs(str(config.data.path)):
        problems.append(
            Problem(
                "data.path",
                f"{config.data.path}, a folder below the one that the command is given in",
                "a URI, or a folder in the tasks' containers",
            )
        )
    for where, found in (
        ("features.transform_graph", config.features.transform_graph),
        ("training.start", config.training.start),
        ("data.state", config.data.state),
    ):
        if found is not None:
            problems.append(
                Problem(where, f"{found}", "nothing: a day goes on from what earlier days left")
            )
    if config.serving.infra_validator:
        problems.append(
            Problem(
                "serving.infra_validator",
                "true",
                "false: TFX runs it on no Kubeflow, and ModelCheck loads the model all the same",
            )
        )
    if config.training.distribution == "multi_worker":
        problems.append(
            Problem(
                "training.distribution",
                "multi_worker",
                "one_device, or mirrored for several GPUs: a task is one container",
            )
        )
    return [*problems, *beam_problems(config), *_task_problems(config)]


def _task_problems(config: Config) -> list[Problem]:
    settings = config.kubeflow
    if settings is None:
        return []
    problems = []
    known = [node.id for node in kubeflow_pipeline(config).components]
    for name, task in settings.tasks.items():
        where = f"kubeflow.tasks.{name}"
        if name not in known:
            problems.append(Problem(where, f"`{name}`", f"the id of a task: {', '.join(known)}"))
        if task.gpu and name != "Trainer":
            problems.append(
                Problem(f"{where}.gpu", str(task.gpu), "0: the Trainer alone makes use of them")
            )
    elsewhere = [name for name in BEAM_COMPONENTS if config.beam.of(name)[0] != "direct"]
    if elsewhere and not settings.pipeline_root.startswith("gs://"):
        names = ", ".join(elsewhere)
        problems.append(
            Problem(
                "kubeflow.pipeline_root",
                f"{settings.pipeline_root}, and {names} on Beam's workers, which read it",
                "a gs:// URI",
            )
        )
    return problems


def _images(settings: KubeflowConfig) -> str | Mapping[str, str]:
    own = {name: task.image for name, task in settings.tasks.items() if task.image}
    return {"default_image_path": settings.image, **own} if own else settings.image


def _resources(task: KubeflowTaskConfig) -> Any:
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    resources = spec(cpu_limit=task.cpu or 0, memory_limit=task.memory or 0)
    if task.gpu:
        resources.accelerator.CopyFrom(spec.AcceleratorConfig(type=task.gpu_type, count=task.gpu))
    return resources
