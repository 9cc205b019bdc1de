"""What a candidate must show."""

from __future__ import annotations

from pydantic import Field

from tfx_pipeline.config.section import Section


class GateConfig(Section):
    """What a candidate must show, in every task x scenario cell, to be pushed."""

    min_positives: int = Field(
        50, ge=1, description="A cell with fewer positives is listed as not judged."
    )
    min_negatives: int = Field(
        50, ge=1, description="A cell with fewer negatives is listed as not judged."
    )
    auc_floor: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least AUC of every judged cell of a binary or ranking task.",
    )
    auc_floors: dict[str, float] = Field(
        default_factory=dict,
        description="Floors that differ: by `task`, or by `task/scenario` (`*` is the pool).",
    )
    max_auc_drop: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Most that the AUC of a judged cell may lie below that of the last pushed "
        "version on the same rows; 1 compares nothing, nor losses.",
    )
    max_loss_rise: float = Field(
        0.05,
        ge=0,
        allow_inf_nan=False,
        description="Most that the mean squared error of a regression, or the log loss of a "
        "multiclass task, may rise in a judged cell, as a share of that of the last pushed version "
        "on the same rows. Without such a version these cells are listed as not judged.",
    )
