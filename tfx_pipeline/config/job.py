"""A whole job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.daily import DailyConfig
from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.config.features import FeaturesConfig
from tfx_pipeline.config.gate import GateConfig
from tfx_pipeline.config.kubeflow import KubeflowConfig
from tfx_pipeline.config.model import ModelConfig
from tfx_pipeline.config.model_check import ModelCheckConfig
from tfx_pipeline.config.scenario import ScenarioConfig
from tfx_pipeline.config.section import NAME, Section
from tfx_pipeline.config.serving import ServingConfig
from tfx_pipeline.config.task import TaskConfig
from tfx_pipeline.config.training import TrainingConfig


class Config(Section):
    """A job: what to read, what to learn, when to push."""

    name: str = Field(pattern=NAME, description="Name of the job; its workdir is `runs/<name>`.")
    data: DataConfig
    features: FeaturesConfig
    scenario: ScenarioConfig
    tasks: Annotated[dict[str, TaskConfig], Field(min_length=1)] = Field(
        description="Tasks by name (lower case, digits, underscores)."
    )
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    daily: DailyConfig = Field(default_factory=DailyConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    model_check: ModelCheckConfig = Field(default_factory=ModelCheckConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)
    beam: BeamConfig = Field(default_factory=BeamConfig)
    kubeflow: KubeflowConfig | None = None

    @property
    def model_name(self) -> str:
        """Name under which the model is served."""
        return self.serving.model_name or self.name

    def with_full(self, full: bool) -> Config:
        """The same job, for days that begin a lineage or for days that go on from others."""
        return self.model_copy(update={"daily": self.daily.model_copy(update={"full": full})})
