"""From the config file's `model.embedding` to what the layer takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_models.embeddings import (
    Adagrad,
    CountUpdates,
    DecayedCount,
    DynamicEmbeddingConfig,
    ExpireAfter,
    FieldQuotas,
    LazyAdam,
    MinCount,
    Policy,
    RowWiseAdagrad,
)
from keras_models.embeddings.optimizers import RowOptimizer
from tfx_pipeline.config import EmbeddingConfig

_OPTIMIZERS = {"adagrad": Adagrad, "row_wise_adagrad": RowWiseAdagrad, "lazy_adam": LazyAdam}


def embedding_config(
    settings: EmbeddingConfig,
    fields: Sequence[str],
    history_fields: Sequence[str] = (),
    count_updates: bool = False,
) -> DynamicEmbeddingConfig:
    """What the config file asks for.

    Args:
      settings: The section `model.embedding`.
      fields: Names of the columns of the key matrix.
      history_fields: Those whose rows the columns of a history read.
      count_updates: Whether to count them for delta sync.
    """
    weights = {**settings.score_weights, **dict.fromkeys(settings.pinned, math.inf)}
    return DynamicEmbeddingConfig(
        fields=tuple(fields),
        dim=settings.dim,
        dims=settings.dims,
        capacity=settings.capacity,
        capacities=settings.capacities,
        policy=Policy(
            admission=MinCount(settings.min_count),
            score=DecayedCount(settings.half_life, settings.half_life_unit, weights),
            expiry=None if settings.expire_days is None else ExpireAfter(settings.expire_days),
            quotas=FieldQuotas(settings.quotas) if settings.quotas else None,
            sync=CountUpdates() if count_updates else None,
        ),
        optimizer=_optimizer(settings),
        history_fields=tuple(history_fields),
        serving_min_score=settings.serving_min_score,
    )


def _optimizer(settings: EmbeddingConfig) -> RowOptimizer:
    arguments = {
        "learning_rate": settings.learning_rate,
        "initial_accumulator": settings.initial_accumulator,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    return _OPTIMIZERS[settings.optimizer](l2=settings.l2, clip_norm=settings.clip_norm, **given)
