"""Uses of columns, and what is said when they are not there."""

from __future__ import annotations

import dataclasses

import pytest

from transforms.log_schema import column_problems, did_you_mean, merge_problems
from transforms.problems import Problem
from transforms.task_labels import Label

_LOG = ("item", "user", "time", "date", "tab", "clicked", "play", "age", "p", "unused")
_ITEMS = ("author", "duration", "unused")


def test_columns_by_their_use(schema):
    assert set(schema.text_columns) == {"item", "author", "tab", "user", "time", "date"}
    assert set(schema.number_columns) == {"age", "time", "clicked", "play", "duration", "tab", "p"}
    assert schema.uses["tab"] == ("scenario.column", "tasks.long.label")
    assert schema.uses["item"] == ("features.categorical", "data.tables.items.key")
    assert schema.uses["p"] == ("tasks.click.true_probability",)
    assert schema.log_only == {"user", "time", "date", "item"}


def test_a_text_in_a_label_makes_its_column_text(schema):
    labels = dataclasses.replace(schema, labels={"click": Label("kind == 'click'")})
    assert "kind" in labels.text_columns
    assert "kind" not in labels.number_columns


def test_a_sample_space_and_a_request_need_columns_too(schema):
    label = Label("play / duration", "regression", space="kind == 'video' and play > 0")
    wider = dataclasses.replace(schema, labels={"ratio": label}, request=("page", "time"))
    assert wider.uses["kind"] == ("tasks.ratio.space",)
    assert wider.uses["play"] == ("tasks.ratio.label", "tasks.ratio.space")
    assert wider.uses["page"] == ("data.request",)
    assert "kind" in wider.text_columns and "page" in wider.text_columns
    assert "page" in wider.log_only


def test_complete_columns_are_no_problem(schema):
    assert column_problems(schema, "day.csv", _LOG, {"items": _ITEMS}) == []


@pytest.mark.parametrize(
    ("log", "items", "said"),
    [
        (
            [c for c in _LOG if c != "clicked"] + ["cliked"],
            _ITEMS,
            "day.csv: found no column `clicked` in the log or its tables; expected one, for "
            "tasks.click.label. Did you mean `cliked`?",
        ),
        (
            [c for c in _LOG if c != "user"],
            [*_ITEMS, "user"],
            "day.csv: found no column `user` in the log; expected one, for data.user, "
            "data.event_key. It is in table items, where it cannot serve for this.",
        ),
        (
            [*_LOG, "duration"],
            _ITEMS,
            "day.csv: found column `duration` in the log and in table items; expected it in one "
            "place only, for tasks.long.label. Rename or drop one of them.",
        ),
    ],
)
def test_columns_that_are_missing_or_clash(schema, log, items, said):
    (problem,) = column_problems(schema, "day.csv", log, {"items": items})
    assert str(problem) == said


def test_uses_that_contradict_each_other(schema):
    assert schema.problems() == []
    broken = dataclasses.replace(
        schema, numeric=("user", "_x"), labels={"tab": Label("clicked == 1")}, true_probabilities={}
    )
    said = [str(p) for p in broken.problems()]
    assert len(said) == 3
    assert said[0].startswith("features.numeric: found `user`, which is data.user")
    assert said[1].startswith("tasks.tab: found the name of scenario.column")
    assert said[2].startswith("features.numeric: found `_x`; expected a name that does not start")


def test_the_nearest_name_or_all():
    assert did_you_mean("is_clik", ["is_click", "tab"]) == "Did you mean `is_click`?"
    assert did_you_mean("zzz", ["b", "a"]) == "There are: a, b."
    assert did_you_mean("zzz", []) == ""


def test_equal_problems_of_several_files_become_one():
    problems = [Problem(path, "x", "y") for path in ("c", "a", "b", "a")]
    problems.append(Problem("a", "z", "y"))
    assert [str(p) for p in merge_problems(problems)] == [
        "a, b and 1 more: found x; expected y.",
        "a: found z; expected y.",
    ]
