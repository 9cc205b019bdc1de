"""What a change of the log's columns leads to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tfx_pipeline.config.section import Section


class SchemaChangesConfig(Section):
    """What a change of the log's columns from one day to the next leads to; each is reported."""

    new_column: Literal["warn", "stop"] = Field(
        "warn", description="A column that earlier days do not have."
    )
    column_gone: Literal["warn", "fill", "stop"] = Field(
        "warn",
        description="A column that earlier days have. Where the config needs it, `warn` stops too; "
        "with `fill`, a column that is a feature and nothing else is missing in all rows.",
    )
    type_change: Literal["warn", "fill", "stop"] = Field(
        "warn",
        description="A column of another type than before. Its cells are read by their use. Where "
        "one cannot be, `warn` rejects the row; with `fill`, a cell of a column that is a feature "
        "and nothing else is missing.",
    )
    new_value: Literal["warn", "stop"] = Field(
        "warn",
        description="A value of an enum in `data.valid` or `data.eval` that `data.train` lacks.",
    )
    enums: list[str] = Field(
        default_factory=list,
        description="Categorical features of up to 1,000 values that are watched for new ones, "
        "beside the scenario.",
    )
