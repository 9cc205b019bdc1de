"""The network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tfx_pipeline.config.embedding import EmbeddingConfig
from tfx_pipeline.config.section import Section, Width


class PleConfig(Section):
    """Progressive Layered Extraction (Tang et al., RecSys 2020)."""

    levels: int = Field(2, ge=1, description="Extraction levels.")
    experts_per_task: int = Field(2, ge=1, description="Experts of each task, per level.")
    shared_experts: int = Field(2, ge=1, description="Experts shared by all tasks, per level.")
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")


class ModelConfig(Section):
    """The network."""

    backbone: Literal["ple"] = Field("ple", description="Which backbone shares among the tasks.")
    ple: PleConfig = Field(default_factory=PleConfig)
    tower_units: list[Width] = Field([32], description="Layer widths of each task's tower.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after the embeddings.")
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
