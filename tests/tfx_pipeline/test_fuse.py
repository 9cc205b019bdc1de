"""The search for the weights of the fused score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.fuse import Rows, Term, fuse, objective, parse_objective, search, values
from transforms.problems import InputError

TASKS = ["click", "like"]


def _rows(seed: int = 0, size: int = 4000) -> Rows:
    """`click` is told by both outputs together, `like` by its own; a third of likes is unknown."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, size))
    click = (a + 0.5 * b + 0.3 * rng.normal(size=size) > 0).astype(float)
    like = (b + 0.3 * rng.normal(size=size) > 0).astype(float)
    like[rng.random(size) < 1 / 3] = np.nan
    return Rows(
        labels={"click": click, "like": like},
        logs={"click": a, "like": b},
        log_factor=np.zeros(size),
        users=rng.integers(0, 40, size).astype(np.uint64),
    )


STARTS = [{"click": 1.0, "like": 0.0}, {"click": 0.0, "like": 1.0}, {"click": 1.0, "like": 1.0}]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("click", [Term(1.0, "gauc", "click")]),
        ("auc(like)", [Term(1.0, "auc", "like")]),
        (
            "0.7 * gauc(click) + 0.3 * like + 2*(auc(click))",
            [Term(0.7, "gauc", "click"), Term(0.3, "gauc", "like"), Term(2.0, "auc", "click")],
        ),
    ],
)
def test_objectives(text: str, terms: list[Term]) -> None:
    assert parse_objective(text, TASKS) == terms


@pytest.mark.parametrize(
    "text", ["", "clik", "gauc(clik)", "mse(click)", "click * like", "click - like", "gauc(1", "1"]
)
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(InputError, match="--objective: found .* Tasks are click, like; metrics"):
        parse_objective(text, TASKS)


def test_finds_the_weights_that_made_the_labels() -> None:
    rows, terms = _rows(), parse_objective("click", TASKS)
    found = search(terms, STARTS, rows)
    best = objective(terms, values(terms, {"click": 1.0, "like": 0.5}, rows))
    assert objective(terms, values(terms, found, rows)) >= best - 1e-4
    assert found["like"] / found["click"] == pytest.approx(0.5, abs=0.15)
    # On rows that it never saw too, more than the task's own output alone.
    other = _rows(seed=1)
    alone = objective(terms, values(terms, STARTS[0], other))
    assert objective(terms, values(terms, found, other)) > alone + 0.01


def test_the_objective_decides() -> None:
    terms = parse_objective("0.01 * gauc(click) + auc(like)", TASKS)
    found = search(terms, STARTS, _rows())
    assert found["like"] > 5 * found["click"]


def test_is_never_worse_than_its_starts_and_the_same_every_time() -> None:
    rows, terms = _rows(3, 300), parse_objective("0.5 * click + auc(like)", TASKS)
    trials: list[int] = []
    found = search(terms, STARTS, rows, lambda count, _: trials.append(count))
    reached = objective(terms, values(terms, found, rows))
    assert all(reached >= objective(terms, values(terms, start, rows)) for start in STARTS)
    assert search(terms, STARTS, rows) == found
    assert trials == list(range(1, len(trials) + 1))


def test_rows_outside_of_a_sample_space_do_not_count() -> None:
    rows = _rows()
    inside = ~np.isnan(rows.labels["like"])
    terms = parse_objective("like", TASKS)
    weights = {"click": 0.3, "like": 1.0}
    assert values(terms, weights, rows) == values(terms, weights, rows.take(inside))


def test_a_length_has_a_say() -> None:
    rows = _rows()
    length = np.random.default_rng(5).normal(scale=5, size=len(rows.users))
    longer = Rows(rows.labels, rows.logs, length, rows.users)
    terms = parse_objective("click", TASKS)
    light, heavy = ({"click": w, "like": w / 2} for w in (0.1, 100.0))
    assert values(terms, light, rows)[0] == pytest.approx(values(terms, heavy, rows)[0], abs=1e-6)
    assert values(terms, light, longer)[0] < values(terms, heavy, longer)[0] - 0.1


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no finished run"):
        fuse(tmp_path, "click")
