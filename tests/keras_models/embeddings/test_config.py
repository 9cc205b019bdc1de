from __future__ import annotations

import math

import pytest

from keras_models.embeddings import DecayedCount, DynamicEmbeddingConfig, FieldQuotas, Policy


def test_fields_have_the_common_width_or_their_own() -> None:
    config = DynamicEmbeddingConfig(fields=("a", "b", "c"), dim=8, dims={"b": 4})
    assert config.field_dims == (8, 4, 8)


def test_fields_and_widths_that_there_are_may_be_named() -> None:
    DynamicEmbeddingConfig(
        fields=("a", "b"),
        dim=8,
        dims={"b": 4},
        capacities={4: 100, 8: 200},
        policy=Policy(score=DecayedCount(weights={"a": math.inf}), quotas=FieldQuotas({"b": 0.5})),
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fields": ()}, "`fields` should be at least one name. Received: fields=()"),
        ({"dims": {"b": 4, "x": 8}}, "`dims` should be among the fields a, b. Received: dims=x"),
        (
            {"policy": Policy(score=DecayedCount(weights={"x": 2.0}))},
            "`policy` should be among the fields a, b. Received: policy=x",
        ),
        (
            {"policy": Policy(quotas=FieldQuotas({"x": 0.5}))},
            "`policy` should be among the fields a, b. Received: policy=x",
        ),
        (
            {"dims": {"b": 4}, "capacities": {8: 100}},
            "`capacities` should be by width, one of [4, 16]. Received: capacities=8",
        ),
        (
            {"dims": {"a": 4, "b": 4}, "capacities": {16: 100}},
            "`capacities` should be by width, one of [4]. Received: capacities=16",
        ),
        (
            {"serving_min_score": -1.0},
            "`serving_min_score` should be at least 0. Received: serving_min_score=-1.0",
        ),
    ],
)
def test_bad_arguments(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        DynamicEmbeddingConfig(**{"fields": ("a", "b"), **wrong})
    assert str(error.value) == message
