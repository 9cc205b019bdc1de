"""A version scored with the features of its own run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfx_pipeline.config import load_config
from tfx_pipeline.gate.own_features import (
    RunScores,
    key_columns,
    own_outputs,
    read_scores,
    row_keys,
    without,
)
from tfx_pipeline.gate.series import Series
from transforms.examples import DAY

CONFIG = load_config(
    Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml",
    ["features.statistics=[{by: [item_id], of: [like]}]"],
)
RATE = "rate"
"""Of the past days, as the examples have it; the version's own tables say .25."""


class Version(tf.Module):
    """Says of a row what its past days say."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {RATE: tf.io.FixedLenFeature([], tf.float32, 0.25)}
        return {"click": tf.io.parse_example(examples, spec)[RATE]}

    @tf.function(input_signature=[])
    def request_columns(self) -> dict[str, tf.Tensor]:
        return {"statistics": tf.constant([RATE])}


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tf.Module:
    path, made = str(tmp_path_factory.mktemp("version")), Version()
    names = ("serving_default", "request_columns")
    tf.saved_model.save(made, path, {name: getattr(made, name) for name in names})
    return tf.saved_model.load(path)


def example(item: str, day: int, rate: float, age: float = 30.0) -> bytes:
    def texts(*values: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))

    def numbers(*values: float) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    days = tf.train.Feature(int64_list=tf.train.Int64List(value=[day]))
    features = {"item_id": texts(item), RATE: numbers(rate), DAY: days}
    features[CONFIG.features.numeric[0]] = numbers(age)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def series(scores: str) -> Series:
    return Series(anchor=None, anchor_model="", last_day=7, scores=scores, runs=[], carried=[])


def store(path: str, rows: np.ndarray, *scores: float) -> None:
    by_task = {"click": np.array(scores, np.float32), "file": np.zeros(len(rows), np.float32)}
    RunScores(key_columns(CONFIG), row_keys(rows, CONFIG), by_task).write(path)


def test_keys_go_by_what_the_logs_hold_and_not_by_what_a_run_made_of_it() -> None:
    one, same, other, aged, later = row_keys(
        np.array(
            [
                example("i1", 7, 0.1),
                example("i1", 7, 0.9),
                example("i2", 7, 0.1),
                example("i1", 7, 0.1, 30.000002),
                example("i1", 8, 0.1),
            ],
            object,
        ),
        CONFIG,
    )
    assert one == same and len({one, other, aged, later}) == 4
    assert row_keys(np.zeros(0, object), CONFIG).dtype == np.uint64


def test_each_row_has_the_features_that_the_version_would_have_had(
    version: tf.Module, tmp_path: Path
) -> None:
    """The candidate's logs are broken: its examples say .9 where the version's run had .5."""
    path = str(tmp_path / "scores.npz")
    before = np.array([example("i1", 7, 0.5), example("i2", 7, 0.4)], object)
    store(path, before, 0.5, 0.4)
    now = np.array(
        [
            example("i2", 7, 0.9),  # evaluated on by the version's run
            example("i3", 7, 0.9),  # of its days, but not seen by it
            example("i1", 8, 0.9),  # of a later day
            example("i1", 7, 0.9),
        ],
        object,
    )
    days = np.array([7, 7, 8, 7])
    scored = {"click": np.full(4, 0.9, np.float32)}
    found, note = own_outputs(version, now, days, CONFIG, scored, series(path))
    assert note is None
    np.testing.assert_allclose(found["click"], [0.4, 0.9, 0.25, 0.5])
    np.testing.assert_array_equal(scored["click"], np.full(4, 0.9, np.float32))


def test_what_is_the_same_is_not_compared_twice(version: tf.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "scores.npz")
    rows = np.array([example("i1", 7, 0.5)], object)
    scored = {"click": np.array([0.5], np.float32)}
    store(path, rows, 0.5)
    assert own_outputs(version, rows, np.array([7]), CONFIG, scored, series(path)) == ({}, None)


def test_scores_that_are_gone_are_noted(version: tf.Module, tmp_path: Path) -> None:
    rows = np.array([example("i1", 8, 0.9), example("i1", 7, 0.9)], object)
    gone = str(tmp_path / "gone.npz")
    assert read_scores(gone) is None
    scored = {"click": np.full(2, 0.9, np.float32)}
    found, note = own_outputs(version, rows, np.array([8, 7]), CONFIG, scored, series(gone))
    assert note == f"{gone}, its scores of its own evaluation rows, is gone"
    np.testing.assert_allclose(found["click"], [0.25, 0.9])
    # Of later days it needs none.
    scored = {"click": scored["click"][:1]}
    found, note = own_outputs(version, rows[:1], np.array([8]), CONFIG, scored, series(gone))
    assert note is None and found["click"] == pytest.approx(0.25)


def test_equal_rows_are_given_their_mean(version: tf.Module, tmp_path: Path) -> None:
    """As two rows whose histories differ."""
    path = str(tmp_path / "scores.npz")
    rows = np.array([example("i1", 7, 0.5)] * 2, object)
    store(path, rows, 0.2, 0.4)
    scored = {"click": np.full(2, 0.9, np.float32)}
    found, _ = own_outputs(version, rows, np.array([7, 7]), CONFIG, scored, series(path))
    np.testing.assert_allclose(found["click"], [0.3, 0.3])


def test_other_features_stay_as_they_are() -> None:
    (left,) = without(np.array([example("i1", 7, 0.5)], object), [RATE, "unknown"])
    names = {"item_id", DAY, CONFIG.features.numeric[0]}
    assert {*tf.train.Example.FromString(left).features.feature} == names


def test_rows_of_other_columns_are_not_looked_up(version: tf.Module, tmp_path: Path) -> None:
    path, rows = str(tmp_path / "scores.npz"), np.array([example("i1", 7, 0.9)], object)
    columns = [*key_columns(CONFIG)[1:], "session"]
    RunScores(columns, row_keys(rows, CONFIG), {"click": np.full(1, 0.1, np.float32)}).write(path)
    scored = {"click": np.array([0.9], np.float32)}
    found, note = own_outputs(version, rows, np.array([7]), CONFIG, scored, series(path))
    assert found == {}
    differ = ", ".join(sorted(["session", key_columns(CONFIG)[0]]))
    assert note == f"its own evaluation rows have other columns ({differ})"
