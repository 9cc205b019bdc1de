"""How the pushed model is laid out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfx_pipeline.config.section import NAME, Section

_Counts = list[Annotated[int, Field(ge=1, le=10_000)]]


class DeltaConfig(Section):
    """Which embedding rows `equipoise delta export` takes; {} takes all that differ."""

    min_updates: int = Field(
        1, ge=1, description="Training steps that taught a row since it was last synced."
    )
    max_age_days: int | None = Field(
        None,
        ge=0,
        description="A row that differs and was last synced more than so many days ago goes along, "
        "however few its updates. Default: it waits for them, or for the next whole version.",
    )
    max_rows_per_field: int | None = Field(
        None,
        ge=1,
        description="Rows of a column that a delta takes at most, the most updated ones. Default: "
        "all that are due.",
    )


class ServingConfig(Section):
    """How the pushed model is laid out."""

    model_name: str | None = Field(
        None, pattern=NAME, description="Name under which it is served. Default: the job's name."
    )
    item_columns: list[str] = Field(
        default_factory=list,
        description="Features that differ from candidate to candidate; all others are of the user "
        "and the context. With them the model also answers `rank`: one user, many candidates.",
    )
    embedding_rows: Literal["float32", "float16", "int8"] = Field(
        "float32",
        description="How the model keeps the rows of its embeddings: as they were trained, or in 2 "
        "bytes a number, or in 1 with a scale a row. What it costs: docs/reference/serving.md.",
    )
    warmup_rows: _Counts = Field(
        default_factory=lambda: [1, 32],
        min_length=1,
        max_length=500,
        description="Evaluation rows of each request with which a server warms up a new version.",
    )
    warmup_candidates: _Counts = Field(
        default_factory=lambda: [100],
        max_length=500,
        description="Candidates of each further such request to `rank`, where the model has it.",
    )
    infra_validator: bool = Field(
        False,
        description="Also have TFX's InfraValidator load the model in the official image of "
        "TensorFlow Serving, before the gate. Needs docker where the pipeline runs.",
    )
    delta: DeltaConfig | None = Field(
        None,
        description="Between whole pushes, sync what changed: training then counts the updates of "
        "every embedding row, and versions can be turned into later ones by deltas. Default: no "
        "counts, whole pushes alone.",
    )
    keep_versions: int = Field(5, ge=1, description="Versions kept in the push destination.")

    @property
    def warmup_largest(self) -> int:
        """Rows that the largest warm-up request needs."""
        return max(*self.warmup_rows, *self.warmup_candidates, 1)
