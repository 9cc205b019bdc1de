"""How the model is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tfx_pipeline.config.section import Positive, Section


class TrainingConfig(Section):
    """How the model is fitted."""

    batch_size: int = Field(1024, ge=1, le=1 << 20, description="Examples per step.")
    epochs: int = Field(5, ge=1, description="Passes over the training days, at most.")
    patience: int = Field(
        1,
        ge=1,
        description="Epochs without a better mean AUC on the valid days before training stops; "
        "the best epoch's weights are kept.",
    )
    start: Path | None = Field(
        None,
        description="What an earlier run's training ended with, to go on from: weights, embedding "
        "tables, both optimizers and the count of epochs. It lies in the workdir, "
        "`pipeline/Trainer/model_run/<number>/trained`, and needs that run's "
        "`features.transform_graph`. Default: cold weights.",
    )
    distribution: Literal["one_device", "mirrored", "multi_worker"] = Field(
        "one_device",
        description="Whether a batch is spread over the GPUs of this machine (`mirrored`), or over "
        "the workers that TF_CONFIG names (`multi_worker`); see docs/how-to/train-on-workers.md.",
    )
    learning_rate: float = Field(0.001, gt=0, description="Adam's, for all but the embeddings.")
    cooldown: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of each pass, at its end, over which Adam's rate falls linearly to "
        "nothing, so that the last steps' noise does not stay in the weights: at a constant rate, "
        "0, the predictions of rare tasks are tens of percent too high or too low.",
    )
    calibration: Literal["task", "task_and_scenario"] | None = Field(
        None,
        description="Scales and shifts the trained logits of binary tasks to fit the labels of the "
        "valid days, by task, or by task and scenario; see docs/models/losses.md. A day that goes "
        "on from an earlier one keeps the calibration that its first day found. Default: none.",
    )
    clip_norm: Positive | None = Field(
        None,
        description="Longest gradient of all weights but the embeddings together; longer ones are "
        "shortened. Default: no limit.",
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32",
        description="What all but the embeddings compute in; weights are float32 either way. "
        "`mixed_bfloat16` is for hardware that is faster in it, and is served as it was trained.",
    )
    shuffle_buffer: int = Field(65_536, ge=1, description="Examples held for shuffling.")
    checkpoint_every_steps: int = Field(
        500, ge=1, description="Steps between checkpoints; a killed training goes on from the last."
    )
    seed: int = Field(1, ge=0, lt=1 << 32, description="Seeds initialisation and shuffling.")
    xla: bool = Field(
        True,
        description="Compile with XLA what gains by it: the dense part of the step on a GPU, the "
        "optimizer alone on a CPU.",
    )
