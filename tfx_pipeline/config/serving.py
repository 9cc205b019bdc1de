"""How the pushed model is laid out."""

from __future__ import annotations

from pydantic import Field

from tfx_pipeline.config.section import NAME, Section


class ServingConfig(Section):
    """How the pushed model is laid out."""

    model_name: str | None = Field(
        None, pattern=NAME, description="Name under which it is served. Default: the job's name."
    )
    keep_versions: int = Field(5, ge=1, description="Versions kept in the push destination.")
