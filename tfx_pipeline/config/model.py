"""The network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.backbones import (
    BackboneConfig,
    DcnV2Config,
    DeepFmConfig,
    HiNetConfig,
    HmoeConfig,
    MmoeConfig,
    PleConfig,
    SharedBottomConfig,
    StarConfig,
)
from tfx_pipeline.config.embedding import EmbeddingConfig
from tfx_pipeline.config.head import FusionConfig, Head
from tfx_pipeline.config.loss import LossConfig
from tfx_pipeline.config.plug_ins import (
    BehaviourSequenceConfig,
    EpNetConfig,
    LhucConfig,
    PpNetConfig,
)
from tfx_pipeline.config.presets import with_preset
from tfx_pipeline.config.section import Section, Width


class ModelConfig(Section):
    """The network: a backbone, plug-ins, towers and a head. See docs/models/README.md."""

    preset: (
        Literal[
            "shared_bottom",
            "mmoe",
            "cgc",
            "ple",
            "hinet",
            "star",
            "hmoe",
            "esmm",
            "pepnet",
            "dupn",
            "meituan",
            "deepfm",
            "dcn_v2",
        ]
        | None
    ) = Field(
        None,
        description="A paper's combination, which the other keys of `model` then change. Default: "
        "none, which is `ple`.",
    )
    backbone: Literal[
        "shared_bottom", "mmoe", "ple", "hinet", "star", "hmoe", "deepfm", "dcn_v2"
    ] = Field("ple", description="What shares among tasks and scenarios.")
    shared_bottom: SharedBottomConfig = Field(default_factory=SharedBottomConfig)
    mmoe: MmoeConfig = Field(default_factory=MmoeConfig)
    ple: PleConfig = Field(default_factory=PleConfig)
    hinet: HiNetConfig = Field(default_factory=HiNetConfig)
    star: StarConfig = Field(default_factory=StarConfig)
    hmoe: HmoeConfig = Field(default_factory=HmoeConfig)
    deepfm: DeepFmConfig = Field(default_factory=DeepFmConfig)
    dcn_v2: DcnV2Config = Field(default_factory=DcnV2Config)
    tower_units: list[Width] = Field(
        [32],
        description="Layer widths of each task's tower. Backbones that score by themselves have "
        "no towers: `hmoe`, `deepfm`.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the backbone's input set to zero in training."
    )
    missing_values: bool = Field(
        False,
        description="Whether a missing number is replaced by a trained one instead of the mean. "
        "See docs/models/missing-values.md.",
    )
    behaviour_sequence: BehaviourSequenceConfig | None = None
    epnet: EpNetConfig | None = None
    ppnet: PpNetConfig | None = None
    lhuc: LhucConfig | None = None
    head: Head = Field(
        "independent",
        description="How tasks depend on one another: not at all, or through `after` of the tasks. "
        "See docs/models/heads.md.",
    )
    fusion: FusionConfig | None = None
    loss: LossConfig = Field(default_factory=LossConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, data: Any) -> Any:
        return with_preset(data) if isinstance(data, dict) else data

    @property
    def backbone_settings(self) -> BackboneConfig:
        """The section of the backbone that is used."""
        section: BackboneConfig = getattr(self, self.backbone)
        return section
