"""Labels by the kind of the task: inside, outside, or not usable."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from transforms.labels import ExpressionError
from transforms.task_labels import Label


def _read(label: Label, **columns) -> tuple[list, dict[str, list[int]]]:
    """The labels, and the positions of the rows that cannot be used, by reason."""
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    values, faults = label.read(lambda expression: expression.evaluate(table))
    return values.to_pylist(), {why: np.flatnonzero(rows).tolist() for rows, why in faults}


def test_a_binary_label_is_there_or_the_row_cannot_be_used():
    label = Label("a > 1")
    values, faults = _read(label, a=[2, 0, None])
    assert values == [1, 0, None]
    assert faults == {"cannot be computed from what is there": [2]}
    assert not label.may_be_absent


def test_outside_of_its_space_a_row_needs_no_label():
    label = Label("a > 1", space="b == 1")
    values, faults = _read(label, a=[2, 2, None, None, 0], b=[1, 0, 0, 1, None])
    assert values == [1, None, None, None, None]
    assert faults == {"cannot be computed from what is there": [3]}
    assert label.may_be_absent


def test_a_regression_without_a_value_is_outside():
    label = Label("a / b", "regression", space="b >= 0")
    values, faults = _read(label, a=[1, 1, None, 1, 1e300, 1e300], b=[2, 0, 1, None, 1, -1])
    assert values == [0.5, None, None, None, 1e300, None]
    assert faults == {"cannot be computed from what is there": [], "is too large a number": [4]}
    assert Label("a / b", "regression").may_be_absent


def test_a_class_is_a_whole_number_below_their_number():
    values, faults = _read(Label("a", "multiclass", classes=3), a=[0, 2, 3, -1, 0.5, None])
    assert values[:2] == [0, 2]
    assert faults == {
        "cannot be computed from what is there": [5],
        "is not a class, a whole number from 0 to 2": [2, 3, 4],
    }


def test_a_relevance_is_a_condition_or_at_least_0():
    values, faults = _read(Label("a > 1", "ranking"), a=[2, 0])
    assert values == [1.0, 0.0] and not any(faults.values())
    values, faults = _read(Label("a", "ranking"), a=[2.5, 0, -1, None])
    assert values[:2] == [2.5, 0.0]
    assert faults["is a relevance below 0"] == [2]
    assert faults["cannot be computed from what is there"] == [3]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (Label("a"), "is a number, not a condition"),
        (Label("a > 1", "regression"), "is a condition, not a number"),
        (Label("a > 1", "multiclass", 2), "is a condition, not a number"),
    ],
)
def test_a_label_of_another_kind(label, said):
    with pytest.raises(ExpressionError, match=said):
        _ = label.expression


def test_a_space_is_a_condition():
    with pytest.raises(ExpressionError, match="is a number, not a condition"):
        _ = Label("a > 1", space="b").space_expression


def test_survives_pickling():
    label = Label("a > 1", space="b == 1")
    _ = label.expression, label.space_expression
    again = pickle.loads(pickle.dumps(label))
    assert again == label and again.expression == label.expression
