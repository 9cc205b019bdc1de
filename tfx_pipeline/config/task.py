"""The tasks."""

from __future__ import annotations

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Section
from transforms.labels import ExpressionError, parse_expression


class TaskConfig(Section):
    """One binary prediction task."""

    label: str = Field(
        description="Expression over log columns that is true for a positive, for example "
        "`play_time_ms >= 0.5 * duration_ms`. See docs/reference/expressions.md."
    )
    weight: float = Field(1.0, gt=0, description="Weight of the task's loss.")
    engagement: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="What a positive label adds, beside the 1 of every occurrence, to the scores "
        "that decide which keys keep their embedding rows.",
    )
    true_probability: str | None = Field(
        None,
        description="Column with the true probability of the label, where it is known (simulated "
        "logs). The report then prints the AUC ceiling beside the AUC.",
    )

    @model_validator(mode="after")
    def _label_parses(self) -> TaskConfig:
        try:
            parse_expression(self.label)
        except ExpressionError as error:
            raise ValueError(f"label: {error}") from error
        return self
