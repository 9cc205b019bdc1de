"""How the daily job runs on Kubeflow Pipelines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfx_pipeline.config.section import Positive, Section

_URI = r"^(gs|s3|minio)://[^/]+"
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class KubeflowTaskConfig(Section):
    """What one task asks of the cluster."""

    cpu: Positive | None = Field(None, description="Cores, requested and at most.")
    memory: Positive | None = Field(None, description="Gigabytes, requested and at most.")
    gpu: int = Field(0, ge=0, description="GPUs; the Trainer alone makes use of them.")
    gpu_type: str = Field("nvidia.com/gpu", description="Which resource of a node they are.")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels that the node must have."
    )
    image: str | None = Field(
        None, description="Its image, where that is not `kubeflow.image`: one with CUDA, say."
    )


class KubeflowConfig(Section):
    """How `equipoise compile` sets up the daily job for Kubeflow Pipelines.

    See docs/how-to/kubeflow.md.
    """

    image: Annotated[str, Field(min_length=1)] = Field(
        description="The image of `deploy/Dockerfile`, of the same version as what compiles."
    )
    pipeline_root: str = Field(
        pattern=_URI,
        description="Where the artifacts of runs are kept: gs://, s3:// or minio://, as Kubeflow "
        "Pipelines is set up for.",
    )
    volume: Annotated[str, Field(min_length=1)] = Field(
        description="PersistentVolumeClaim that all tasks mount: what days leave to later ones, "
        "checkpoints, and pushed versions. It has to be a file system that renames at once."
    )
    mount_path: str = Field(
        "/equipoise/runs",
        pattern="^/",
        description="Where it is mounted; the workdir is the folder of the job's name in it.",
    )
    secrets: dict[str, dict[str, _Variable]] = Field(
        default_factory=dict,
        description="Secrets by name, and which environment variable each of their keys becomes in "
        "LogExampleGen's task: what the store of `data.path` asks for.",
    )
    tasks: dict[str, KubeflowTaskConfig] = Field(
        default_factory=dict, description="What tasks ask of the cluster, by the component's id."
    )
