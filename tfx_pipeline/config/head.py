"""What is made of the model's logits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Positive, Section

Head = Literal["independent", "esmm"]

Weight = Annotated[float, Field(allow_inf_nan=False)]


class FusedLengthConfig(Section):
    """The factor f(length / unit) of the fused score."""

    column: str = Field(description="Numeric feature that holds the length.")
    function: Literal["log1p", "sigmoid", "power"] = Field(description="f.")
    power: Weight = Field(1.0, description="Exponent, of the function `power`.")
    unit: Positive = Field(
        1.0, description="What the length is divided by, for example 1000 for seconds from ms."
    )
    missing: float = Field(
        ge=0,
        allow_inf_nan=False,
        description="What counts as the length of a row that has none, before the division.",
    )


class FusionConfig(Section):
    """One score of all tasks, served as `score`. See docs/models/heads.md."""

    weights: dict[str, Weight] = Field(
        min_length=1,
        description="Exponents of the tasks' probabilities; tasks that are not named do not count. "
        "`equipoise fuse` searches them.",
    )
    length: FusedLengthConfig | None = Field(
        None, description="Factor for the length of what is shown. Default: none."
    )

    @model_validator(mode="after")
    def _something_counts(self) -> FusionConfig:
        if not any(self.weights.values()):
            raise ValueError("weights: found zeros only; expected a task that counts")
        return self
