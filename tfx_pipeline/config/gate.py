"""What a candidate must show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from tfx_pipeline.config.section import Section

Kind = Literal["binary", "regression", "multiclass", "ranking"]
_Unit = Annotated[float, Field(ge=0, le=1)]
_NotNegative = Annotated[float, Field(ge=0)]

KINDS_OF_THRESHOLDS: Mapping[str, tuple[Kind, ...]] = {
    "auc_floor": ("binary", "ranking"),
    "gauc_floor": ("binary", "ranking"),
    "max_logloss": ("binary", "multiclass"),
    "max_normalized_entropy": ("binary",),
    "calibration_band": ("binary",),
    "max_auc_drop": ("binary", "ranking"),
    "max_auc_drop_relative": ("binary", "ranking"),
    "max_gauc_drop": ("binary", "ranking"),
    "max_logloss_rise": ("binary",),
    "max_loss_rise": ("regression", "multiclass"),
}
"""Kinds of tasks that a threshold is for; one that is not here is for all."""


class Thresholds(Section):
    """What a cell is held to; what is left out holds it to nothing."""

    min_positives: int | None = Field(
        None, ge=1, description="A cell with fewer positives is listed as not judged."
    )
    min_negatives: int | None = Field(
        None, ge=1, description="A cell with fewer negatives is listed as not judged."
    )
    max_noise: float | None = Field(
        None,
        gt=0,
        description="A value is listed as not judged where the least breach that could be told "
        "from noise is larger than this, unless it keeps clear of its threshold, or breaches it, "
        "by more than that: of AUC and GAUC in points, of all else as a share of the threshold.",
    )
    auc_floor: _Unit | None = Field(None, description="Least AUC, of binary and ranking tasks.")
    gauc_floor: _Unit | None = Field(None, description="Least GAUC, of binary and ranking tasks.")
    max_logloss: _NotNegative | None = Field(
        None, description="Most log loss, of binary and multiclass tasks."
    )
    max_normalized_entropy: _NotNegative | None = Field(
        None,
        description="Most normalized entropy (log loss over that of the mean label), of binary "
        "tasks.",
    )
    calibration_band: list[_NotNegative] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="Least and most calibration (mean prediction over mean label), of binary "
        "tasks. It leaves no cell open: `max_noise` is for all else.",
    )
    max_auc_drop: _Unit | None = Field(
        None,
        description="Most that the AUC may lie below that of the last pushed version on the same "
        "rows.",
    )
    max_auc_drop_relative: _Unit | None = Field(
        None,
        description="Likewise, as a share of the last pushed version's AUC; with both, both hold.",
    )
    max_gauc_drop: _Unit | None = Field(None, description="Likewise of the GAUC, in points.")
    max_logloss_rise: _NotNegative | None = Field(
        None,
        description="Most that the log loss of a binary task may rise, as a share of that of the "
        "last pushed version on the same rows.",
    )
    max_loss_rise: _NotNegative | None = Field(
        None,
        description="Most that the mean squared error of a regression, or the log loss of a "
        "multiclass task, may rise, as a share of that of the last pushed version on the same "
        "rows. Without such a version these cells are listed as not judged.",
    )

    @field_validator("calibration_band")
    @classmethod
    def _ascends(cls, band: list[float] | None) -> list[float] | None:
        if band is not None and band[0] >= band[1]:
            raise ValueError(f"found {band}; expected [low, high] with low below high")
        return band

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not left out, by name."""
        return {
            name: getattr(self, name)
            for name in Thresholds.model_fields
            if getattr(self, name) is not None
        }


class GateRule(Thresholds):
    """Thresholds of some cells, in place of the gate's own."""

    task: str | None = Field(None, description="The task they are for. Default: every task.")
    scenario: str | None = Field(
        None,
        description="The scenario they are for, `*` for the pool. Default: every scenario, and "
        "the pool.",
    )


def _default(name: str, value: Any) -> Any:
    """A threshold's field, with a default."""
    return FieldInfo.merge_field_infos(Thresholds.model_fields[name], default=value)


class GateConfig(Thresholds):
    """What every task x scenario cell of a candidate must show: see docs/reference/gate.md."""

    confidence: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="A breach counts when it exceeds the noise with this confidence: a model that "
        "breaches nothing is blocked with the remaining probability at most, however many cells "
        "there are.",
    )
    draws: int = Field(
        400, ge=100, le=10_000, description="Draws of the bootstrap over users that measures noise."
    )
    compare: bool = Field(
        True, description="Whether to compare with the last pushed version, where there is one."
    )
    min_positives: int | None = _default("min_positives", 50)
    min_negatives: int | None = _default("min_negatives", 50)
    max_noise: float | None = _default("max_noise", 0.05)
    auc_floor: _Unit | None = _default("auc_floor", 0.5)
    calibration_band: list[_NotNegative] | None = _default("calibration_band", [0.8, 1.25])
    max_auc_drop: _Unit | None = _default("max_auc_drop", 0.005)
    max_loss_rise: _NotNegative | None = _default("max_loss_rise", 0.05)
    rules: list[GateRule] = Field(
        default_factory=list,
        description="Thresholds of some cells; where several rules fit a cell, the later wins.",
    )

    def of(self, task: str, scenario: str) -> Thresholds:
        """What one cell is held to."""
        found = self.given
        for rule in self.rules:
            if rule.task in (None, task) and rule.scenario in (None, scenario):
                found |= rule.given
        return Thresholds.model_validate(found)
