"""The metrics of a cell by the kind of the task, by hand and through TFMA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from tfx_pipeline import cell_metrics
from tfx_pipeline.cell_metrics import cell_values

from ..transforms.random_bundles import combined

TASKS = {
    "click": ("binary", 1),
    "ratio": ("regression", 1),
    "power": ("multiclass", 3),
    "order": ("ranking", 1),
}


def test_values_of_every_kind_by_hand() -> None:
    users, requests = np.array([1, 1, 2]), np.array([7, 7, 8])
    labels, scores = np.array([1.0, 0, 0]), np.array([[0.5], [0.25], [0.5]])
    found = cell_values("binary", labels, scores, users, requests)
    assert (found["examples"], found["positives"]) == (3, 1)
    assert found["auc"] == 0.75 and found["gauc"] == 1.0
    assert found["calibration"] == pytest.approx(1.25)
    assert found["logloss"] == pytest.approx(-np.log(0.5 * 0.75 * 0.5) / 3)
    found = cell_values("regression", np.array([1.0, 2]), np.array([[0.0], [4]]), users, requests)
    assert found == {"examples": 2, "mse": 2.5}
    classes = np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.7], [0, 0, 1]])
    found = cell_values("multiclass", np.array([0.0, 1, 2]), classes, users, requests)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["logloss"] == pytest.approx(-np.log(0.5 * 0.2 * 1.0) / 3)
    found = cell_values("ranking", np.array([0.0, 2, 1]), scores, users, requests)
    # The first request ranks 0 above 2; the second has one row.
    assert found["ndcg"] == pytest.approx(1 / np.log2(3))
    assert (found["examples"], found["positives"], found["gauc"]) == (3, 2, 0.0)


@pytest.mark.parametrize("kind", ["binary", "regression", "multiclass", "ranking"])
def test_a_cell_without_rows_has_no_values(kind: Any) -> None:
    none = np.zeros(0)
    found = cell_values(kind, none, np.zeros((0, 3)), none, none)
    assert found.pop("examples") == 0
    assert not found.pop("positives", 0)
    assert set(found.values()) == {None}


def _example(**values: Any) -> bytes:
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        elif value is not None:
            feature.int64_list.value.append(value)
    return example.SerializeToString()


class _Model(tf.Module):
    """Serves each task's number from a feature of the example, and an output without a label."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
        x = tf.io.parse_example(examples, spec)["x"]
        rest = (1 - x) / 2
        return {
            "click": x,
            "ratio": x,
            "power": tf.stack([x, rest, rest], axis=1),
            "order": x,
            "score": x * x,
        }


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_combined_in_any_tree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_metrics, "_COMPACT_AFTER", 2)
    rng = np.random.default_rng(0)
    rows = [
        metric_types.StandardMetricInputs(
            labels={
                "click": None if i % 5 == 0 else np.array([i % 2]),
                "ratio": np.array([rng.normal()], np.float32),
                "power": np.array([float(i % 3)]),
                "order": np.array([float(i % 4)]),
            },
            predictions={
                task: rng.dirichlet(np.ones(3)).astype(np.float32)[:outputs]
                for task, (_, outputs) in TASKS.items()
            },
            features={"user": np.array([b"u%d" % (i % 7)]), "_request": np.array([i // 4])},
        )
        for i in range(60)
    ]
    (computation,) = cell_metrics.CellMetrics(
        {task: kind for task, (kind, _) in TASKS.items()},
        {task: outputs for task, (_, outputs) in TASKS.items()},
        *("user", "_request"),
    ).computations(eval_config=tfma.EvalConfig())
    found = combined(computation.combiner, rows, seed)
    for task, (kind, _) in TASKS.items():
        inside = [row for row in rows if row.labels[task] is not None]
        expected = cell_values(
            kind,
            np.concatenate([row.labels[task] for row in inside]).astype(np.float32),
            np.stack([row.predictions[task] for row in inside]),
            np.concatenate([row.features["user"] for row in inside]),
            np.concatenate([row.features["_request"] for row in inside]),
        )
        for name, value in expected.items():
            key = metric_types.MetricKey(name=f"cell_{name}", output_name=task)
            # Floating-point sums in another order differ in their last bits.
            assert found[key] == pytest.approx(value, rel=1e-12)


@pytest.mark.e2e
def test_rows_outside_of_a_sample_space_do_not_count(tmp_path: Path) -> None:
    """As the Evaluator runs it, on examples that lack labels."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(200):
        row: dict[str, Any] = {
            "user": b"u%d" % rng.integers(9),
            "_scenario": [b"feed", b"search"][i % 2],
            "_request": int(rng.integers(20)) - 2**62,
            "x": float(np.float32(rng.random())),
            "click": int(rng.integers(2)),
            "ratio": float(np.float32(rng.normal())),
            "power": float(rng.integers(3)),
            "order": float(rng.integers(3)),
        }
        for task in TASKS:
            if rng.random() < 0.4 or (task == "ratio" and i % 2):
                row[task] = None
        rows.append(row)
    data = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(data)) as out:
        for row in rows:
            out.write(_example(**row))
    model = _Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.serve})
    settings = {
        "kinds": {task: kind for task, (kind, _) in TASKS.items()},
        "outputs": {task: outputs for task, (_, outputs) in TASKS.items()},
        "user_feature": "user",
        "request_feature": "_request",
    }
    metric = tfma.MetricConfig(
        class_name="CellMetrics", module="tfx_pipeline.cell_metrics", config=json.dumps(settings)
    )
    config = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(signature_name="serving_default", label_keys={t: t for t in TASKS})
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["_scenario"])],
        metrics_specs=[tfma.MetricsSpec(output_names=list(TASKS), metrics=[metric])],
    )
    result = tfma.run_model_analysis(
        eval_shared_model=tfma.default_eval_shared_model(
            eval_saved_model_path=str(tmp_path / "model"), eval_config=config
        ),
        eval_config=config,
        data_location=str(data),
        output_path=str(tmp_path / "result"),
    )
    found = {
        (task, str(key[0][1]) if key else "*"): {
            name: float(value["doubleValue"]) for name, value in by_sub_key[""].items()
        }
        for key, by_output in result.slicing_metrics
        for task, by_sub_key in by_output.items()
    }
    assert set(found) == {(task, s) for task in TASKS for s in ("*", "feed", "search")}
    for (task, scenario), values in found.items():
        inside = [
            row
            for row in rows
            if row[task] is not None and scenario.encode() in (b"*", row["_scenario"])
        ]
        x = np.array([[row["x"]] for row in inside]).reshape(-1, 1)
        if task == "power":
            x = np.concatenate([x, (1 - x) / 2, (1 - x) / 2], axis=1)
        expected = cell_values(
            TASKS[task][0],
            np.array([row[task] for row in inside], float),
            x,
            np.array([row["user"] for row in inside]),
            np.array([row["_request"] for row in inside]),
        )
        assert values.keys() == {f"cell_{name}" for name in expected}
        for name, value in expected.items():
            assert values[f"cell_{name}"] == pytest.approx(
                np.nan if value is None else value, rel=1e-5, nan_ok=True
            )
    assert found["ratio", "search"]["cell_examples"] == 0
