"""Kinds of tasks, heads and losses in the config file: what is accepted, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config import load_config
from tfx_pipeline.inputs import log_schema, preprocessing_config
from transforms.task_labels import Label

from .test_config import problems, write

RATIO = {"label": "min(play / duration, 1)", "kind": "regression"}
BUY = {"label": "bought == 1", "after": "click"}
POWER = {"label": "power", "kind": "multiclass", "classes": 4}
RANK = {"label": "bought == 1", "kind": "ranking"}


def test_tasks_of_every_kind(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            {
                "data.event_key": ["id", "user", "page"],
                "data.request": ["user", "page"],
                "tasks.ratio": {**RATIO, "gamma": 0.9},
                "tasks.power": {**POWER, "space": "is_click == 1"},
                "tasks.rank": {**RANK, "ranking_loss": "listwise"},
            },
        )
    )
    schema = log_schema(config)
    assert schema.labels == {
        "click": Label("is_click == 1"),
        "ratio": Label("min(play / duration, 1)", "regression"),
        "power": Label("power", "multiclass", 4, "is_click == 1"),
        "rank": Label("bought == 1", "ranking"),
    }
    assert schema.request == ("user", "page")
    asked = preprocessing_config(config)
    assert (asked["spaces"], asked["request_column"]) == (True, "_request")


def test_neither_spaces_nor_requests_where_none_are_needed(tmp_path: Path) -> None:
    data = {"data.event_key": ["id", "page"], "data.request": ["page"]}
    config = load_config(write(tmp_path, {**data, "tasks.power": POWER}))
    assert log_schema(config).request == ()
    asked = preprocessing_config(config)
    assert (asked["spaces"], asked["request_column"]) == (False, None)


def test_a_chain_a_fused_score_and_bounds(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            {
                "features.numeric": ["duration"],
                "tasks.buy": BUY,
                "tasks.again": {"label": "again == 1", "after": "buy"},
                "tasks.free": {"label": "free == 1"},
                "model.head": "esmm",
                "model.fusion": {
                    "weights": {"click": 1, "buy": 0.5},
                    "length": {"column": "duration", "function": "log1p", "missing": 0},
                },
                "model.loss": {
                    "weighting": "uncertainty",
                    "kl_bounds": [{"product": ["click", "free"], "equals": "buy", "weight": 0.1}],
                },
            },
        )
    )
    assert config.model.fusion is not None and config.model.fusion.weights["buy"] == 0.5
    assert config.model.loss.kl_bounds[0].product == ["click", "free"]


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"tasks.t": {"label": "a > 1", "kind": "regression"}}, "tasks.t", "not a number"),
        ({"tasks.t": {"label": "a"}}, "tasks.t", "label: `a` is a number, not a condition"),
        ({"tasks.t": {"label": "a > 1", "space": "b"}}, "tasks.t", "space: `b` is a number"),
        ({"tasks.t": {**POWER, "classes": None}}, "tasks.t", "found None; expected a number of"),
        (
            {"tasks.t": {"label": "a > 1", "classes": 3}},
            "tasks.t",
            "and this one is of kind binary",
        ),
        ({"tasks.t": {**RATIO, "engagement": 1}}, "tasks.t", "a regression task are no counts"),
        ({"tasks.t": {**RATIO, "true_probability": "p"}}, "tasks.t", "of a binary task only"),
        ({"tasks.t": {**RATIO, "gamma": 0}}, "tasks.t.gamma", "greater than 0"),
        ({"tasks.rank": RANK}, "data.request", "nothing, and the ranking task `rank`"),
        (
            {"tasks.rank": RANK, "data.request": ["page"]},
            "data.request",
            "`page`, which is not in data.event_key",
        ),
        (
            {"tasks.buy": {**BUY, "after": "clik"}, "model.head": "esmm"},
            "tasks.buy.after",
            "found `clik`; expected a task: buy, click",
        ),
        (
            {"tasks.buy": BUY, "tasks.click.after": "buy", "model.head": "esmm"},
            "tasks.buy.after",
            "a circle: buy, click",
        ),
        (
            {"tasks.t": RATIO, "tasks.buy": {**BUY, "after": "t"}, "model.head": "esmm"},
            "tasks.buy.after",
            "`t`, a task of kind regression",
        ),
        (
            {"tasks.buy": {**BUY, "space": "is_click == 1"}, "model.head": "esmm"},
            "tasks.buy.space",
            "a task after another is learned over all rows",
        ),
        ({"model.head": "esmm"}, "model.head", "no task that comes after another"),
        ({"tasks.buy": BUY}, "tasks.buy.after", "Set model.head to `esmm`"),
        (
            {"tasks.score": {"label": "a > 1"}, "model.fusion": {"weights": {"score": 1}}},
            "tasks.score",
            "the name of another output",
        ),
        (
            {
                "tasks.a": {"label": "a > 1", "after": "b_given_click"},
                "tasks.b_given_click": {"label": "b > 1", "after": "click"},
                "tasks.a_given_b": {"label": "c > 1", "after": "click"},
                "model.head": "esmm",
            },
            "tasks.a_given_b",
            "`a_given_b_given_click` as the name of an output, which that of `a` is too",
        ),
        ({"tasks.t": {"label": "a = 1", "space": "b"}}, "tasks.t", "; space: `b` is a number"),
        (
            {"tasks.t": RATIO, "model.fusion": {"weights": {"t": 1}}},
            "model.fusion.weights",
            "found `t`; expected tasks with a probability: click",
        ),
        (
            {"model.fusion": {"weights": {"click": 0}}},
            "model.fusion",
            "zeros only",
        ),
        (
            {
                "model.fusion": {
                    "weights": {"click": 1},
                    "length": {"column": "x", "function": "log1p", "missing": 0},
                }
            },
            "model.fusion.length.column",
            "expected a column of features.numeric",
        ),
        (
            {"model.loss.kl_bounds": [{"product": ["click", "b"], "equals": "c"}]},
            "model.loss.kl_bounds.0",
            "`c`; expected binary tasks: click",
        ),
        (
            {"model.loss.kl_bounds": [{"product": ["click", "click"], "equals": "c"}]},
            "model.loss.kl_bounds.0",
            "three different tasks",
        ),
        ({"model.loss.scenario_weight_cap": 0.5}, "model.loss.scenario_weight_cap", "equal to 1"),
        (
            {"tasks.t": RATIO, "features.statistics": [{"by": ["tab"], "of": ["t"]}]},
            "features.statistics.0.of",
            "`t`, a task of kind regression",
        ),
        (
            {
                "tasks.t": {"label": "a > 1", "space": "b > 1"},
                "features.statistics": [{"by": ["tab"], "of": ["t"]}],
            },
            "features.statistics.0.of",
            "`t`, a task with a `space`",
        ),
        (
            {"tasks.t": RATIO, "gate.rules": [{"task": "t", "auc_floor": 0.6}]},
            "gate.rules.0.auc_floor",
            "found a threshold of `t`, a regression task; expected binary or ranking tasks",
        ),
    ],
)
def test_mistake(tmp_path: Path, changes: dict[str, Any], where: str, says: str) -> None:
    found = problems(write(tmp_path, changes))
    assert list(found) == [where]
    assert says in found[where]
