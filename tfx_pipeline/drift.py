"""How the evaluation days differ from the training days, and what TFDV found odd."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx.v1.dsl.io import fileio

SPLITS = ("train", "valid", "eval")
_MEASURES = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "L-infinity distance",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}


@dataclass(frozen=True)
class Side:
    """A feature on some days.

    Args:
      missing: Share of rows without a value.
      mean: Of a number; None of a category.
      distinct: Values of a category; None of a number.
    """

    missing: float
    mean: float | None
    distinct: int | None


@dataclass(frozen=True)
class FeatureDrift:
    """A feature on the training days and on the evaluation days.

    Args:
      feature: Its name.
      train: On the training days.
      eval: On the evaluation days.
      measure: How far apart they are by: L-infinity distance of a category's shares,
        Jensen-Shannon divergence of a number's histogram, both from 0 to 1.
      distance: Its value; None where it could not be computed.
    """

    feature: str
    train: Side
    eval: Side
    measure: str
    distance: float | None


@dataclass(frozen=True)
class Anomaly:
    """Something that does not fit the schema.

    Args:
      split: Where.
      feature: Whose.
      what: In TFDV's words.
    """

    split: str
    feature: str
    what: str


def feature_drift(train_uri: str, eval_uri: str, features: Sequence[str]) -> list[FeatureDrift]:
    """Compares the evaluation days with the training days; TFDV computes the distances.

    Args:
      train_uri: Folder of StatisticsGen's artifact with the training days.
      eval_uri: Of that with the evaluation days; the same, where one run had both.
      features: Columns of the examples.

    Returns:
      The features that both have, the most distant first.
    """
    train, evaluated = _read_statistics(train_uri, "train"), _read_statistics(eval_uri, "eval")
    measured = _distances(train, evaluated)
    sides = [
        {".".join(f.path.step): f for f in found.datasets[0].features}
        for found in (train, evaluated)
    ]
    rows = []
    for name in features:
        if all(name in side for side in sides):
            measure, distance = measured.get(name, ("", None))
            rows.append(
                FeatureDrift(name, _side(sides[0][name]), _side(sides[1][name]), measure, distance)
            )
    return sorted(rows, key=lambda row: -(row.distance or 0.0))


def anomalies(anomalies_uri: str) -> list[Anomaly]:
    """Reads what ExampleValidator found, split by split.

    Args:
      anomalies_uri: Folder of its artifact.
    """
    found = []
    for split in SPLITS:
        path = os.path.join(anomalies_uri, f"Split-{split}", "SchemaDiff.pb")
        if not fileio.exists(path):  # A run without valid days.
            continue
        proto = anomalies_pb2.Anomalies()
        with fileio.open(path, "rb") as f:
            proto.ParseFromString(f.read())
        for feature, info in sorted(proto.anomaly_info.items()):
            found.append(Anomaly(split, feature, info.description))
    return found


def _read_statistics(uri: str, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    with fileio.open(os.path.join(uri, f"Split-{split}", "FeatureStats.pb"), "rb") as f:
        proto.ParseFromString(f.read())
    return proto


def _distances(
    train: statistics_pb2.DatasetFeatureStatisticsList,
    evaluated: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, tuple[str, float]]:
    """TFDV's measure and distance, by feature."""
    schema = tfdv.infer_schema(train)
    for feature in schema.feature:
        # TFDV measures what has a threshold; whether it is exceeded does not matter here.
        if feature.type == schema_pb2.BYTES:
            feature.drift_comparator.infinity_norm.threshold = 1.0
        else:
            feature.drift_comparator.jensen_shannon_divergence.threshold = 1.0
    compared = tfdv.validate_statistics(evaluated, schema, previous_statistics=train)
    return {
        ".".join(info.path.step): (_MEASURES[info.drift_measurements[0].type], distance)
        for info in compared.drift_skew_info
        for distance in [info.drift_measurements[0].value]
    }


def _side(feature: statistics_pb2.FeatureNameStatistics) -> Side:
    numeric = feature.WhichOneof("stats") == "num_stats"
    stats = feature.num_stats if numeric else feature.string_stats
    common = stats.common_stats
    rows = common.num_missing + common.num_non_missing
    return Side(
        missing=common.num_missing / rows if rows else 0.0,
        mean=stats.mean if numeric else None,
        distinct=None if numeric else stats.unique,
    )
