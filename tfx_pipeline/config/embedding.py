"""The embedding tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Positive, Section, Share, Width


class EmbeddingConfig(Section):
    """The dynamic embedding tables: keys get rows, and lose them, while the model trains."""

    dim: Width = Field(16, description="Width of an embedding row.")
    dims: dict[str, Width] = Field(
        default_factory=dict,
        description="Widths that differ, by feature column. Each width has a table of its own.",
    )
    capacity: int = Field(
        1 << 18, ge=64, le=1 << 31, description="Rows of a table, for all its columns together."
    )
    capacities: dict[Width, Annotated[int, Field(ge=64, le=1 << 31)]] = Field(
        default_factory=dict, description="Capacities that differ, by width."
    )
    min_count: int = Field(
        2,
        ge=1,
        description="Occurrences before a key gets a row of its own; until then it reads the "
        "shared row of its column. They fade with `half_life`, or by half with every "
        "`capacity` / 2 occurrences of keys without a row, so that at most 5% of new keys get one "
        "at first sight.",
    )
    half_life: Positive = Field(
        1_000_000,
        description="Age at which an occurrence counts half in a key's score. Where a table is "
        "full, the lowest score goes.",
    )
    half_life_unit: Literal["examples", "days"] = Field(
        "examples", description="What `half_life` is measured in."
    )
    expire_days: int | None = Field(
        None,
        ge=1,
        description="A key that no example held for more than this many days loses its row, even "
        "where there is room. Default: never.",
    )
    pinned: list[str] = Field(
        default_factory=list,
        description="Columns of small closed sets: their keys get rows at first sight, are never "
        "evicted, never expire and are always served.",
    )
    score_weights: dict[str, Positive] = Field(
        default_factory=dict,
        description="What an occurrence counts in the score, by column; 1 by default. See also "
        "`engagement` of a task.",
    )
    quotas: dict[str, Share] = Field(
        default_factory=dict,
        description="Most that a column may hold of its table's rows, as a share, so that a huge "
        "one does not starve the others. Default: no limit.",
    )
    serving_min_score: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Rows of a lower score are trained but not served; their keys then read the "
        "shared row.",
    )
    optimizer: Literal["adagrad", "row_wise_adagrad", "lazy_adam"] = Field(
        "adagrad",
        description="How rows learn. It keeps as many numbers a row as the row itself, one, or "
        "twice as many and one.",
    )
    learning_rate: Positive | None = Field(
        None, description="Of the rows. Default: 0.05, for `lazy_adam` 0.001."
    )
    initial_accumulator: Positive | None = Field(
        None, description="Adagrad's, for a fresh row. Default: 0.1."
    )
    l2: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of half a row's squared length in the loss, in steps that read it.",
    )
    clip_norm: Positive | None = Field(
        None, description="Longest gradient of a row; longer ones are shortened. Default: no limit."
    )

    @model_validator(mode="after")
    def _accumulator_is_adagrads(self) -> EmbeddingConfig:
        if self.optimizer == "lazy_adam" and self.initial_accumulator is not None:
            raise ValueError("`lazy_adam` has no accumulator: leave `initial_accumulator` out")
        return self

    @model_validator(mode="after")
    def _capacities_of_tables(self) -> EmbeddingConfig:
        widths = sorted({self.dim, *self.dims.values()})
        unknown = sorted(set(self.capacities) - set(widths))
        if unknown:
            raise ValueError(f"capacities: no table of width {unknown[0]}; widths are {widths}")
        return self
