"""tf.Examples: zeros and empty texts kept, missing values absent."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import tensorflow as tf

from transforms.examples import encode, feature_table
from transforms.task_labels import Label


def _rows() -> pa.Table:
    return pa.table(
        {
            "text:user": ["u", "", "w"],
            "text:tab": ["0", "7", "1"],
            "text:item": ["", None, "9"],
            "text:author": pa.nulls(3, pa.string()),
            "number:age": [0.0, None, -1.5],
            "label:click": [0, 1, 0],
            "label:long": [0, 0, 1],
            "true:click": [0.0, 1.0, 0.5],
            "day": [738_000, 738_000, 738_001],
        }
    )


def _values(record: bytes) -> dict[str, list]:
    features = tf.train.Example.FromString(record).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind") or "bytes_list").value)
        for name, feature in features.items()
    }


def test_zeros_survive_and_missing_values_are_absent(schema):
    """TFX's own Parquet reader takes 0, 0.0 and "" for missing: every negative label is lost."""
    first, second, third = map(_values, encode(feature_table(_rows(), schema)))
    assert first == {
        "user": [b"u"],
        "tab": [b"0"],
        "item": [b""],
        "author": [],
        "age": [0.0],
        "click": [0],
        "long": [0],
        "_true_click": [0.0],
        "_day": [738_000],
        "_scenario": [b"0"],
    }
    assert (second["item"], second["age"], second["user"]) == ([], [], [b""])
    assert second["_scenario"] == [b"other"]
    assert (third["age"], third["_scenario"]) == ([-1.5], [b"1"])


def test_labels_that_are_absent_and_numbers(schema):
    labels = {"click": Label("a > 1", space="b > 1"), "long": Label("a", "regression")}
    rows = _rows().drop(["label:click", "label:long"])
    rows = rows.append_column("label:click", pa.array([None, 1, 0]))
    rows = rows.append_column("label:long", pa.array([0.25, None, 0.0]))
    wider = dataclasses.replace(schema, labels=labels, request=("user", "tab"))
    records = [_values(r) for r in encode(feature_table(pa.concat_tables([rows] * 2), wider))]
    assert [record["click"] for record in records[:3]] == [[], [1], [0]]
    assert [record["long"] for record in records[:3]] == [[0.25], [], [0.0]]
    requests = [record["_request"][0] for record in records]
    assert len(set(requests[:3])) == 3 and requests[:3] == requests[3:]


def test_a_column_may_be_feature_and_scenario_at_once(schema):
    both = dataclasses.replace(schema, categorical=("tab", "user"))
    assert feature_table(_rows(), both).column_names[:2] == ["tab", "user"]


def test_many_rows_stay_in_order(schema):
    rows = pa.concat_tables([_rows()] * 2000)
    ages = [_values(record)["age"] for record in encode(feature_table(rows, schema))]
    assert ages == [[0.0], [], [-1.5]] * 2000
