"""Drift and anomalies, by TFDV and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2

from tfx_pipeline.drift import SPLITS, anomalies, feature_drift

TRAIN = pd.DataFrame(
    {
        "tab": ["feed"] * 60 + ["search"] * 40,
        "still": ["a", "b"] * 50,
        "age": np.linspace(0, 1, 100),
        "moved": np.linspace(0, 1, 100),
    }
)
EVAL = pd.DataFrame(
    {
        "tab": ["feed"] * 15 + ["search"] * 15 + [None] * 10,
        "still": ["a", "b"] * 20,
        "age": np.linspace(0, 1, 40),
        "moved": np.linspace(2, 3, 40),
    }
)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A StatisticsGen artifact."""
    folder = tmp_path_factory.mktemp("statistics")
    for split, frame in (("train", TRAIN), ("eval", EVAL)):
        (folder / f"Split-{split}").mkdir()
        found = tfdv.generate_statistics_from_dataframe(frame)
        (folder / f"Split-{split}" / "FeatureStats.pb").write_bytes(found.SerializeToString())
    return str(folder)


def test_the_most_distant_come_first(statistics: str) -> None:
    found = feature_drift(statistics, statistics, ["age", "still", "tab", "moved", "gone"])
    assert [f.feature for f in found][:2] == ["moved", "tab"]
    by_name = {f.feature: f for f in found}
    assert set(by_name) == {"age", "still", "tab", "moved"}, "`gone` is in no statistics"
    # Of the 30 rows with a tab, half are feed; of the training rows 60%.
    assert by_name["tab"].measure == "L-infinity distance"
    assert by_name["tab"].distance == pytest.approx(0.1, abs=1e-6)
    assert by_name["still"].distance == pytest.approx(0, abs=1e-6)
    # Histograms without an overlap are as far apart as can be.
    assert by_name["moved"].measure == "Jensen-Shannon divergence"
    assert by_name["moved"].distance == pytest.approx(1, abs=1e-6)
    assert by_name["age"].distance == pytest.approx(0, abs=0.01)


def test_missing_shares_and_what_else_the_sides_hold(statistics: str) -> None:
    tab, age = feature_drift(statistics, statistics, ["tab", "age"])
    assert (tab.train.missing, tab.eval.missing) == (0, 0.25)
    assert (tab.train.distinct, tab.eval.distinct) == (2, 2)
    assert tab.train.mean is None and age.train.distinct is None
    assert age.train.mean == pytest.approx(0.5)


def test_anomalies_are_told_in_words(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / f"Split-{split}").mkdir()
        proto = anomalies_pb2.Anomalies()
        if split == "eval":
            proto.anomaly_info["tab"].description = "A value is new."
        (tmp_path / f"Split-{split}" / "SchemaDiff.pb").write_bytes(proto.SerializeToString())
    (found,) = anomalies(str(tmp_path))
    assert (found.split, found.feature, found.what) == ("eval", "tab", "A value is new.")
