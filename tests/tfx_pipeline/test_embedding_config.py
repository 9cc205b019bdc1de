"""What the section `model.embedding` becomes."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    ExpireAfter,
    FieldQuotas,
    LazyAdam,
    MinCount,
    RowWiseAdagrad,
)
from tfx_pipeline.config import EmbeddingConfig
from tfx_pipeline.embedding_config import embedding_config

FIELDS = ["user", "item", "tab"]


def test_defaults() -> None:
    config = embedding_config(EmbeddingConfig(), FIELDS)
    assert config.fields == ("user", "item", "tab")
    assert config.field_dims == (16, 16, 16)
    assert config.capacity == 1 << 18
    assert config.policy.admission == MinCount(2)
    assert config.policy.score == DecayedCount(1_000_000, "examples", {})
    assert config.policy.expiry is None and config.policy.quotas is None
    assert config.optimizer == Adagrad(learning_rate=0.05, initial_accumulator=0.1)


def test_every_key_arrives() -> None:
    settings = EmbeddingConfig(
        dim=8,
        dims={"tab": 4},
        capacity=1000,
        capacities={4: 64},
        min_count=3,
        half_life=7,
        half_life_unit="days",
        expire_days=30,
        pinned=["tab"],
        score_weights={"item": 2.0},
        quotas={"user": 0.5},
        serving_min_score=0.25,
        optimizer="row_wise_adagrad",
        learning_rate=0.1,
        initial_accumulator=0.2,
        l2=0.01,
        clip_norm=5.0,
    )
    config = embedding_config(settings, FIELDS)
    assert config.field_dims == (8, 8, 4)
    assert (config.capacity, config.capacities) == (1000, {4: 64})
    assert config.policy.admission == MinCount(3)
    assert config.policy.score == DecayedCount(7, "days", {"item": 2.0, "tab": math.inf})
    assert config.policy.expiry == ExpireAfter(30)
    assert config.policy.quotas == FieldQuotas({"user": 0.5})
    assert config.serving_min_score == 0.25
    assert config.optimizer == RowWiseAdagrad(
        learning_rate=0.1, initial_accumulator=0.2, l2=0.01, clip_norm=5.0
    )


def test_lazy_adam_has_its_own_learning_rate() -> None:
    assert embedding_config(EmbeddingConfig(optimizer="lazy_adam"), FIELDS).optimizer == LazyAdam()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "lazy_adam", "initial_accumulator": 0.1}, "has no accumulator"),
        ({"capacities": {8: 1000}}, r"no table of width 8; widths are \[16\]"),
        ({"quotas": {"user": 1.5}}, "less than or equal to 1"),
        ({"score_weights": {"user": 0}}, "greater than 0"),
        ({"score_weights": {"user": math.inf}}, "finite number"),
        ({"expire_days": 0}, "greater than or equal to 1"),
        ({"half_life_unit": "steps"}, "'examples' or 'days'"),
    ],
)
def test_refuses(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EmbeddingConfig(**wrong)
