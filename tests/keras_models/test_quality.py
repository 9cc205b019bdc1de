"""Qualities by the definitions, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from keras_models.quality import qualities
from keras_models.tasks import Task

TASKS = (
    Task("click"),
    Task("watched", kind="regression"),
    Task("depth", kind="multiclass", classes=3),
    Task("order", kind="ranking"),
)
# Columns: click, watched, the three classes of depth, order.
LOGITS = np.array(
    [
        [0.9, 1.0, 5, 0, 0, 0.1],
        [0.2, 2.0, 0, 5, 0, 0.7],
        [0.5, 3.0, 5, 0, 0, 0.2],
        [0.6, 5.0, 0, 0, 5, 0.9],
    ],
    np.float32,
)
LABELS = np.array([[1, 1, 0, 0], [0, 2, 1, 2], [1, 3, 1, 0], [0, 4, 2, 1]], np.float32)


def test_each_kind_has_its_own() -> None:
    found = qualities(TASKS, LABELS, LOGITS)
    # Clicks: of the four pairs (.9 and .5 against .2 and .6) three are in order.
    assert found["click"] == 0.75
    # Errors 0, 0, 0, 1; the variance of 1, 2, 3, 4 is 1.25.
    assert found["watched"] == pytest.approx(1 - 0.25 / 1.25)
    assert found["depth"] == 0.75
    # Relevant are the second and the last, both above the others.
    assert found["order"] == 1.0


def test_rows_outside_of_a_sample_space_do_not_count() -> None:
    spaces = np.ones_like(LABELS)
    spaces[2, 2] = spaces[3, 0] = 0
    found = qualities(TASKS, LABELS, LOGITS, spaces)
    assert (found["click"], found["depth"]) == (1.0, 1.0)
    spaces[:, 1:3] = 0
    found = qualities(TASKS, LABELS, LOGITS, spaces)
    assert (found["watched"], found["depth"]) == (None, None)


def test_labels_that_are_all_equal_have_none() -> None:
    found = qualities(TASKS, np.ones_like(LABELS), LOGITS)
    assert found["click"] is None and found["watched"] is None and found["order"] is None
    assert found["depth"] == 0.25
