"""The model that a config names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from keras_models.backbones import BACKBONES, Backbone
from keras_models.embeddings import DynamicEmbedding, DynamicEmbeddingConfig
from keras_models.heads import EsmmHead, ScoreFusion
from keras_models.layers import BehaviourSequence, EpNet, Lhuc, MissingValue, PpNet
from keras_models.losses import TaskLosses, scenario_weights
from keras_models.model import RankingModel
from keras_models.plug_ins import PlugIns
from keras_models.precision import precision
from keras_models.tasks import Task
from tfx_pipeline.config import Config
from tfx_pipeline.config.plug_in_columns import (
    domain_columns,
    lhuc_column,
    prior_columns,
    query_columns,
)
from tfx_pipeline.embedding_config import embedding_config


def build_model(config: Config, *, num_numbers: int) -> RankingModel:
    """The model that the config names.

    Args:
      config: The run's config.
      num_numbers: Columns of `numbers`.
    """
    settings = config.model
    tasks = model_tasks(config)
    history = config.features.history
    embedding = embedding_config(
        settings.embedding,
        config.features.fields,
        history.items if history else (),
        count_updates=config.serving.delta is not None,
    )
    with precision(config.training.precision):
        return RankingModel(
            tasks=tasks,
            num_numbers=num_numbers,
            num_scenarios=len(config.scenario.names),
            backbone=_backbone(config, tasks, embedding),
            tower_units=settings.tower_units,
            dropout=settings.dropout,
            embedding=DynamicEmbedding(embedding, seed=config.training.seed, dtype="float32"),
            head=EsmmHead(tasks, name="head") if settings.head == "esmm" else None,
            fusion=_fusion(config),
            plug_ins=_plug_ins(config, embedding),
            history=_history_shape(config),
            calibration=config.training.calibration,
        )


def model_tasks(config: Config) -> list[Task]:
    """The tasks, in the config's order."""
    kept = {"weight", "engagement", "kind", "classes", "gamma", "after", "ranking_loss"}
    return [Task(name, **task.model_dump(include=kept)) for name, task in config.tasks.items()]


def task_losses(config: Config, rows_by_scenario: Sequence[int]) -> TaskLosses:
    """What training minimises.

    Args:
      config: The run's config.
      rows_by_scenario: Training examples of each of the M scenarios.
    """
    settings = config.model.loss
    weights = None
    if settings.scenario_weights == "inverse_size":
        weights = scenario_weights(rows_by_scenario, settings.scenario_weight_cap)
    return TaskLosses(
        model_tasks(config),
        weighting=settings.weighting,
        scenario_weights=weights,
        decay_epochs=settings.decay_epochs or config.training.epochs,
        kl_bounds=[(b.product[0], b.product[1], b.equals, b.weight) for b in settings.kl_bounds],
    )


def _fusion(config: Config) -> ScoreFusion | None:
    settings = config.model.fusion
    if settings is None:
        return None
    if settings.length is None:
        return ScoreFusion(settings.weights, name="fusion")
    length = settings.length
    return ScoreFusion(
        settings.weights,
        length_column=length.column,
        length_function=length.function,
        unit=length.unit,
        power=length.power,
        missing_length=length.missing,
        name="fusion",
    )


def _history_shape(config: Config) -> tuple[int, int] | None:
    history = config.features.history
    if history is None:
        return None
    return history.length, history.width(len(config.scenario.names))


def _backbone(config: Config, tasks: list[Task], embedding: DynamicEmbeddingConfig) -> Backbone:
    kind = BACKBONES[config.model.backbone]
    about_the_model: dict[str, Any] = {
        "num_tasks": sum(task.outputs for task in tasks) if kind.scores else len(tasks),
        "num_scenarios": len(config.scenario.names),
        "field_dims": embedding.field_dims,
    }
    parameters = inspect.signature(kind).parameters
    known = {name: value for name, value in about_the_model.items() if name in parameters}
    return kind(**known, **config.model.backbone_settings.model_dump())


def _plug_ins(config: Config, embedding: DynamicEmbeddingConfig) -> PlugIns:
    settings = config.model
    parts: dict[str, Any] = {}
    if settings.missing_values:
        parts["missing_values"] = MissingValue(name="missing_values")
    if settings.behaviour_sequence is not None:
        sizes = settings.behaviour_sequence.model_dump(exclude={"query"})
        parts["behaviour_sequence"] = BehaviourSequence(**sizes, name="behaviour_sequence")
        parts["query"] = query_columns(config)
    if settings.epnet is not None:
        sizes = settings.epnet.model_dump(exclude={"domain"})
        parts["epnet"] = EpNet(**sizes, field_dims=embedding.field_dims, name="epnet")
        parts["domain"] = domain_columns(config)
    if settings.ppnet is not None:
        sizes = settings.ppnet.model_dump(exclude={"prior"})
        parts["ppnet"] = PpNet(len(config.tasks), settings.tower_units, **sizes, name="ppnet")
        parts["prior"] = prior_columns(config)
    if settings.lhuc is not None:
        parts["lhuc"] = Lhuc(len(config.tasks), settings.tower_units, name="lhuc")
        parts["user"] = lhuc_column(config)
    return PlugIns(**parts)
