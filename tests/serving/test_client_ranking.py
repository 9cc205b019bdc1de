from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.async_client import AsyncClient
from serving.client import Client
from serving.client_examples import MISSING, Columns
from serving.client_ranking import ranking_inputs
from serving.model_server import ModelServer
from serving.versions import push

USER = {"user_id": "u1", "tab": "feed"}
ITEMS = [{"item_id": f"i{n}", "duration_s": 3.0 * n} for n in range(20)] + [{"item_id": "i3"}, {}]
MATRICES = {
    "user_text": ("user_id", "tab"),
    "user_numbers": (),
    "item_text": ("item_id",),
    "item_numbers": ("duration_s",),
    "history_text": ("history:item_id",),
    "history_numbers": ("history:age",),
    "context_text": (),
    "context_numbers": (),
}
COLUMNS = Columns(("user_id", "tab", "item_id"), ("duration_s",), (), MATRICES)


@pytest.fixture(scope="module")
def address(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    base = tmp_path_factory.mktemp("served")
    push(exported, base, keep=1)
    with ModelServer(base, "m") as server:
        yield server.address


def test_it_scores_as_rows_do(address: str) -> None:
    with Client(address, timeout=30) as client:
        ranked = client.rank("m", USER, ITEMS)
        expected = client.predict("m", [{**USER, **item} for item in ITEMS])
    assert list(ranked) == list(expected) == ["click", "like"]
    for task, values in ranked.items():
        np.testing.assert_allclose(values, expected[task], rtol=0, atol=1e-6)


def test_no_items(address: str) -> None:
    with Client(address, timeout=30) as client:
        assert client.rank("m", USER, [])["click"].shape == (0,)


def test_it_can_be_awaited(address: str) -> None:
    async def ask() -> dict[str, np.ndarray]:
        async with AsyncClient(address, timeout=30) as client:
            return await client.rank("m", USER, ITEMS)

    assert asyncio.run(ask())["like"].shape == (len(ITEMS),)


def test_the_matrices() -> None:
    user = {**USER, "history:item_id": ["i1", None], "history:age": [7, 2.5]}
    inputs = ranking_inputs({**user, "tab": None}, ITEMS[19:], COLUMNS)
    assert set(inputs) == {
        *("user_text", "item_text", "item_numbers", "history_text", "history_numbers")
    }
    assert inputs["user_text"].tolist() == [[b"u1", MISSING]]
    assert inputs["item_text"].tolist() == [[b"i19"], [b"i3"], [MISSING]]
    assert inputs["item_numbers"].dtype == np.float32
    np.testing.assert_array_equal(inputs["item_numbers"][:, 0], [57, np.nan, np.nan])
    assert inputs["history_text"].tolist() == [[b"i1"], [MISSING]]
    assert inputs["history_numbers"].tolist() == [[7.0], [2.5]]


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [
        ({"item_id": "i1"}, {}, "user: found the column item_id; expected .* user_id, tab"),
        ({}, {"tab": "feed"}, "item 1: found the column tab; expected columns among item_id"),
        ({"user_id": 1.5}, {}, "user, user_id: found 1.5"),
        ({}, {"duration_s": "long"}, "item 1, duration_s: found 'long'"),
        ({"history:item_id": "i1"}, {}, "user, history:item_id: found 'i1'; expected a list"),
        ({"history:item_id": ["i1"]}, {}, "expected equally long ones"),
        ({}, {"duration_s": -np.inf}, "item 1, duration_s: found -inf; expected a finite float32"),
        *(
            (
                {"history:item_id": ["i1"], "history:age": [age]},
                {},
                f"user, behaviour 1, history:age: found {age}; expected a finite float32$",
            )
            for age in (None, np.nan, np.inf)
        ),
    ],
)
def test_what_it_refuses(user: dict[str, Any], item: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_inputs(user, [item], COLUMNS)


def test_a_model_that_does_not_rank() -> None:
    with pytest.raises(ValueError, match="no signature `rank`"):
        ranking_inputs(USER, ITEMS, Columns(("user_id",), ()))
