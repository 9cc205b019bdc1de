"""Reading the evaluation rows: what an example lacks is no zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfx_pipeline.scoring import read_rows
from transforms.examples import encode

KINDS = {"click": "binary", "ratio": "regression", "power": "multiclass"}


@pytest.mark.parametrize("none_at_all", [False, True])
def test_labels_that_are_absent(tmp_path: Path, none_at_all: bool) -> None:
    """Ingestion writes such a feature without a value, which is not an absent feature."""
    ratio = [None] * 3 if none_at_all else [0.5, None, 0.0]
    table = pa.table(
        {
            "click": pa.array([0, None, 1], pa.int64()),
            "ratio": pa.array(ratio, pa.float32()),
            "power": pa.array([2, 0, None], pa.float32()),
            "_scenario": pa.array([b"feed", b"other", b"feed"]),
            "_true_click": pa.array([0.25, 0.5, 1.0], pa.float32()),
            "length": pa.array([None, 3.0, None], pa.float32()),
            "user": pa.array([b"a", b"", b"c"]),
        }
    )
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(tmp_path / "rows.gz"), options) as out:
        for record in encode(table):
            out.write(record)
    also = {"length": tf.float32, "user": tf.string}
    rows = read_rows(str(tmp_path / "*.gz"), KINDS, ["click"], also)
    np.testing.assert_array_equal(rows.labels["click"], [0, np.nan, 1])
    np.testing.assert_array_equal(rows.labels["ratio"], np.array(ratio, float))
    np.testing.assert_array_equal(rows.labels["power"], [2, 0, np.nan])
    np.testing.assert_array_equal(rows.columns["length"], [np.nan, 3, np.nan])
    assert rows.columns["user"].tolist() == [b"a", b"", b"c"]
    assert rows.scenario.tolist() == [b"feed", b"other", b"feed"]
    assert rows.true_probability["click"].tolist() == [0.25, 0.5, 1.0]
    assert len(rows.examples) == 3
