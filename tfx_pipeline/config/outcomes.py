"""The outcomes log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tfx_pipeline.config.section import Section
from transforms.labels import ExpressionError, parse_expression


class OutcomeColumnConfig(Section):
    """A column that labels read, made of an impression's outcomes; 0 where there is none."""

    value: str = Field(
        description="Expression over the columns of the outcomes log; a condition is 1 or 0. "
        "See docs/reference/expressions.md."
    )
    take: Literal["max", "sum"] = Field(
        "max", description="What is taken of an impression's values: the largest, or the sum."
    )

    @field_validator("value")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            parse_expression(value, "a condition or a number")
        except ExpressionError as error:
            raise ValueError(str(error)) from None
        return value


class OutcomesConfig(Section):
    """What users did, where it arrives in a log of its own: see docs/reference/outcomes.md."""

    files: str = Field(
        description="Glob below `data.path` of the outcomes, with `{YYYY}`, `{MM}` and `{DD}` for "
        "the day on which they arrived."
    )
    key: list[str] = Field(
        min_length=1, description="Columns of both logs that join an outcome to its impression."
    )
    time: str = Field(description="Numeric column of an outcome's time, in `data.clock.unit`.")
    event_key: list[str] = Field(
        default_factory=list,
        description="Columns that with `key` identify an outcome; of those that repeat it, the "
        "first stays. Default: all columns.",
    )
    columns: dict[str, OutcomeColumnConfig] = Field(
        min_length=1, description="Columns that labels read, by a name of your choice."
    )
    success_marker: str | None = Field(
        None, description="As `data.success_marker`, for the outcomes."
    )
    trainable: Literal["closed", "at_once"] = Field(
        "closed",
        description="When a day is trained on: `closed`, when the outcomes of its whole "
        "attribution window are there; or `at_once`, where late outcomes are missing, so that "
        "rates are too low, until the day is read again.",
    )
