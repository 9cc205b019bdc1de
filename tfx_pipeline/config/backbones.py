"""The backbones' sections, with the keys and defaults of the classes in `keras_models`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tfx_pipeline.config.section import Section, Width


class BackboneConfig(Section):
    """What the config must know of a backbone before it is made; see `Backbone`."""

    min_scenarios: ClassVar[int] = 1
    scores: ClassVar[bool] = False


class SharedBottomConfig(BackboneConfig):
    """One MLP that all tasks read (Caruana, 1997). See docs/models/shared_bottom.md."""

    units: list[Width] = Field([128, 64], min_length=1, description="Layer widths.")


class MmoeConfig(BackboneConfig):
    """Multi-gate Mixture-of-Experts (Ma et al., KDD 2018). See docs/models/mmoe.md."""

    num_experts: int = Field(8, ge=2, description="Experts.")
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")


class PleConfig(BackboneConfig):
    """Progressive Layered Extraction (Tang et al., RecSys 2020). See docs/models/ple.md."""

    levels: int = Field(2, ge=1, description="Extraction levels; with one it is CGC.")
    experts_per_task: int = Field(2, ge=1, description="Experts of each task, per level.")
    shared_experts: int = Field(2, ge=1, description="Experts shared by all tasks, per level.")
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")


class HiNetConfig(BackboneConfig):
    """Hierarchical information extraction (Zhou et al., ICDE 2023). See docs/models/hinet.md."""

    min_scenarios: ClassVar[int] = 2

    sub_experts: int = Field(2, ge=2, description="Sub-experts of each scenario's extractor.")
    sub_expert_units: list[Width] = Field(
        [64], min_length=1, description="Layer widths of a sub-expert."
    )
    scenario_dim: Width = Field(
        16, description="Width of a scenario's embedding in the attention over other scenarios."
    )
    experts_per_task: int = Field(2, ge=1, description="Experts of each task, in each scenario.")
    shared_experts: int = Field(
        2, ge=1, description="Experts shared by the tasks, in each scenario."
    )
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")


class StarConfig(BackboneConfig):
    """Star topology (Sheng et al., CIKM 2021). See docs/models/star.md."""

    min_scenarios: ClassVar[int] = 2

    units: list[Width] = Field([128, 64], min_length=1, description="Layer widths.")
    momentum: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Share of the normalisation's moving averages that a batch leaves as it is.",
    )
    scenario_dim: Width = Field(
        16, description="Width of a scenario's embedding in the auxiliary network."
    )
    auxiliary_units: list[Width] = Field(
        [16], description="Hidden layer widths of the auxiliary network."
    )


class HmoeConfig(BackboneConfig):
    """Hybrid of implicit and explicit experts (Li et al., CIKM 2020). See docs/models/hmoe.md."""

    min_scenarios: ClassVar[int] = 2
    scores: ClassVar[bool] = True

    num_experts: int = Field(8, ge=2, description="Experts of the implicit part.")
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")
    tower_units: list[Width] = Field(
        [32], description="Hidden layer widths of a tower; there is one a scenario and task."
    )


class DeepFmConfig(BackboneConfig):
    """Factorisation machine beside an MLP (Guo et al., IJCAI 2017). See docs/models/deepfm.md."""

    scores: ClassVar[bool] = True

    units: list[Width] = Field([128, 64], min_length=1, description="Layer widths of the MLP.")


class DcnV2Config(BackboneConfig):
    """Deep & Cross Network v2 (Wang et al., WWW 2021). See docs/models/dcn_v2.md."""

    cross_layers: int = Field(2, ge=1, description="Cross layers.")
    rank: Width | None = Field(
        None, description="Rank of their matrices. Default: whole matrices, as wide as the input."
    )
    units: list[Width] = Field([128, 64], min_length=1, description="Layer widths of the MLP.")
    structure: Literal["stacked", "parallel"] = Field(
        "stacked", description="Whether the MLP reads the cross layers or stands beside them."
    )
