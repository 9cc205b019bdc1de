"""What a candidate must do when it is loaded as TensorFlow Serving loads it."""

from __future__ import annotations

from pydantic import Field

from tfx_pipeline.config.section import Positive, Section


class ModelCheckConfig(Section):
    """What a candidate must do when it is loaded as TensorFlow Serving loads it.

    See docs/reference/model-check.md.
    """

    rows: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Evaluation rows on which all signatures must give the same numbers.",
    )
    tolerance: Positive | None = Field(
        None,
        description="By how much two signatures may differ on the same row, of outputs above 1 as "
        "a share. Default: 1e-6, or 0.02 where the model computes in `mixed_bfloat16`.",
    )
    repeats: int = Field(
        50, ge=1, le=10_000, description="How often each warm-up request is answered and timed."
    )
    max_latency_ms: Positive | None = Field(
        None,
        description="Longest p99 of any warm-up request, in milliseconds, of the graph alone: no "
        "network, no queue. Default: no limit.",
    )
    max_memory_mb: Positive | None = Field(
        None,
        description="Most memory, in 2^20 bytes, that a process may hold resident while it loads "
        "the model and answers, TensorFlow included. Default: no limit.",
    )
    timeout_s: Positive = Field(
        300.0, description="Seconds in which the model must load and answer everything."
    )
