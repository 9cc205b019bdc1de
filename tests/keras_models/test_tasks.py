from __future__ import annotations

from typing import Any

import pytest

from keras_models.tasks import Task, logit_columns, read_tasks


def test_logits_of_tasks_stand_side_by_side() -> None:
    tasks = [Task("click"), Task("power", kind="multiclass", classes=3), Task("ratio")]
    assert [task.outputs for task in tasks] == [1, 3, 1]
    assert logit_columns(tasks) == {
        "click": slice(0, 1),
        "power": slice(1, 4),
        "ratio": slice(4, 5),
    }


def test_a_name_is_a_binary_task_of_weight_one() -> None:
    assert read_tasks(["click", Task("like", 0.5), {"name": "buy", "after": "click"}]) == (
        Task("click", 1.0),
        Task("like", weight=0.5),
        Task("buy", after="click"),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weight": 0.0}, "`weight` of task `t` should be above 0. Received: 0.0"),
        ({"gamma": -1.0}, "`gamma` of task `t` should be above 0"),
        ({"engagement": -1.0}, "`engagement` of task `t` should be at least 0"),
        ({"kind": "regression", "engagement": 1.0}, "labels of a regression task are no counts"),
        ({"kind": "count"}, "one of binary, regression, multiclass, ranking. Received: count"),
        ({"kind": "multiclass"}, "`classes` of multiclass task `t` should be at least 2"),
        ({"kind": "multiclass", "classes": 1}, "at least 2. Received: 1"),
        ({"classes": 4}, "should be None, because it is a binary task. Received: 4"),
        ({"ranking_loss": "triple"}, "one of pairwise, listwise. Received: triple"),
    ],
)
def test_refuses_what_does_not_fit(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Task("t", **arguments)


@pytest.mark.parametrize("tasks", [[], ["a", "b", "a"]])
def test_each_task_once(tasks: list[str]) -> None:
    with pytest.raises(ValueError, match="each task once. Received: (a, b, a)?$"):
        read_tasks(tasks)
