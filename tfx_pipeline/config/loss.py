"""How the tasks' losses become one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Positive, Section


class KlBoundConfig(Section):
    """A bound that draws P(a) P(b) and P(c) together. See docs/models/losses.md."""

    product: list[str] = Field(min_length=2, max_length=2, description="The binary tasks a and b.")
    equals: str = Field(description="The binary task c.")
    weight: Positive = Field(1.0, description="Weight of the bound in the loss.")

    @model_validator(mode="after")
    def _three_tasks(self) -> KlBoundConfig:
        if len({*self.product, self.equals}) < 3:
            raise ValueError(
                f"found {', '.join([*self.product, self.equals])}; expected three different tasks"
            )
        return self


class LossConfig(Section):
    """How the tasks' losses become one. All weights multiply. See docs/models/losses.md."""

    weighting: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="`uncertainty` trains a weight of every task on top of `weight` and `gamma`.",
    )
    scenario_weights: Literal["equal", "inverse_size"] = Field(
        "equal",
        description="`inverse_size` weights an example by 1 / the training rows of its scenario, "
        "scaled to a mean of 1 over examples.",
    )
    scenario_weight_cap: float = Field(
        10.0,
        ge=1,
        allow_inf_nan=False,
        description="Highest weight of a scenario with `inverse_size`; what it takes away goes to "
        "the other scenarios, so that the mean stays 1.",
    )
    decay_epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs since the cold start after which `gamma` no longer changes the weights "
        "of tasks, in a lineage that goes on day after day too. Default: `training.epochs`.",
    )
    kl_bounds: list[KlBoundConfig] = Field(
        default_factory=list, description="Bounds between binary tasks."
    )
