"""A small log schema that the tests of ingestion share."""

from __future__ import annotations

import datetime

import pytest

from transforms.days import Splits
from transforms.log_schema import LogSchema
from transforms.task_labels import Label


@pytest.fixture
def schema() -> LogSchema:
    """`tab` is text as the scenario and a number in a label; `duration` is the item table's."""
    return LogSchema(
        categorical=("item", "author"),
        numeric=("age",),
        scenario="tab",
        scenarios=("1", "0", "other"),
        user="user",
        event_key=("user", "time"),
        event_time="time",
        day_column="date",
        day_format="%Y%m%d",
        labels={"click": Label("clicked == 1"), "long": Label("play > duration or tab > 5")},
        true_probabilities={"click": "p"},
        table_keys={"items": "item"},
    )


@pytest.fixture
def splits() -> Splits:
    """Two days of training, a day between, one of evaluation."""
    day = datetime.date
    return Splits(
        {
            "train": (day(2024, 1, 1), day(2024, 1, 2)),
            "valid": (day(2024, 1, 3), day(2024, 1, 3)),
            "eval": (day(2024, 1, 5), day(2024, 1, 5)),
        }
    )
