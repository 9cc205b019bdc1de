"""Whether what an earlier training ended with is of the model that a config names."""

from __future__ import annotations

import json
from typing import Any

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import preprocessing_config
from tfx_pipeline.same_meaning import differences
from transforms.problems import Problem

_REMEDY = (
    "Change the config back, or leave `training.start` out to start from cold weights (in a daily "
    "job, `run --day DAY --full`)."
)


def meaning_file(trained: str) -> str:
    """The file that says what the weights of a checkpoint mean, beside it."""
    return f"{trained}.json"


def weights_meaning(config: Config) -> dict[str, Any]:
    """What the weights of a model mean: what its columns, towers and tables stand for."""
    from tfx_pipeline.build_model import model_tasks
    from tfx_pipeline.embedding_config import embedding_config

    history = config.features.history
    embedding = embedding_config(
        config.model.embedding, config.features.fields, history.items if history else ()
    )
    return {
        "inputs": preprocessing_config(config),
        "tasks": {
            task.name: {"kind": task.kind, "classes": task.classes} for task in model_tasks(config)
        },
        "backbone": config.model.backbone,
        "calibration": config.training.calibration,
        "embedding_widths": dict(zip(config.features.fields, embedding.field_dims, strict=True)),
    }


def start_weights_problems(config: Config) -> list[Problem]:
    """What differs in `training.start` from the config; nothing where none is named."""
    if config.training.start is None:
        return []
    import tensorflow as tf

    where = f"training.start {config.training.start}"
    path = meaning_file(str(config.training.start))
    try:
        with tf.io.gfile.GFile(path) as file:
            found = json.loads(file.read())
    except (tf.errors.OpError, json.JSONDecodeError) as error:
        return [
            Problem(
                where,
                f"no {path} that can be read ({type(error).__name__}: {error})",
                "beside the weights, what they mean, as this version writes it",
                _REMEDY,
            )
        ]
    return differences(where, found, weights_meaning(config), _REMEDY)
