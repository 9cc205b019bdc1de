"""The scenarios."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Section

OTHER = "other"
"""The scenario that every value not listed in `scenario.values` is mapped to."""


class ScenarioConfig(Section):
    """The tabs, pages or feeds that the model serves."""

    column: str = Field(description="Column that names the scenario of a row.")
    values: list[str] = Field(
        min_length=1,
        description=f"Scenarios with parameters of their own. All other values become `{OTHER}`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _values_as_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("values"), list):
            # YAML reads 1 as a number; anything but numbers and texts was hardly meant.
            texts = [str(v) if type(v) in (int, float) else v for v in data["values"]]
            data = {**data, "values": texts}
        return data

    @model_validator(mode="after")
    def _distinct(self) -> ScenarioConfig:
        repeated = sorted({v for v in self.values if self.values.count(v) > 1})
        if repeated:
            raise ValueError(f"values repeat: {', '.join(repeated)}")
        taken = [v for v in self.values if v in (OTHER, "*", "all", "")]
        if taken:
            raise ValueError(
                f"{taken[0]!r} must not be listed: `{OTHER}` is added by itself, `*` and `all` "
                "stand for the pool, and no scenario is without a name"
            )
        return self

    @property
    def names(self) -> list[str]:
        """All scenarios, `other` last; a scenario's id is its position."""
        return [*self.values, OTHER]
