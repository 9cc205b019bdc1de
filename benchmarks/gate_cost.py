"""What Evaluator and Gate cost, against TFMA computing AUC alone.

    python benchmarks/gate_cost.py [--rows 200000]

Rows of 4 binary tasks in 5 scenarios, so 6 slices with the pool, in TFRecords, and a model that
reads its scores from the rows, so that little but evaluation is measured. On one side TFMA runs as
the Evaluator does, with `CellMetrics`, and the Gate judges the model against another version of it:
it reads the rows, scores them with both, draws the bootstrap, judges, and draws the curves. On the
other side TFMA runs in the same way with its own AUC for the same tasks and slices. Reading and
scoring are in the time of both. Each runs in a process of its own, in turn; what counts is CPU time
without the imports.

The last line is the claim as JSON: the first side takes at most 1.5 x the second's.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.config import Config
from tfx_pipeline.evaluation import eval_config
from tfx_pipeline.gate.judge_model import judge_model
from tfx_pipeline.runners.beam_options import LOCAL

RATES = {"click": 0.35, "long_view": 0.25, "like": 0.1, "follow": 0.05}
SHARES = {"feed": 0.5, "search": 0.25, "nearby": 0.15, "friends": 0.08, "other": 0.02}
SIDES = ("evaluator", "gate", "auc")


def config() -> Config:
    """A job with these tasks and scenarios."""
    days = {"train": "2024-01-01", "valid": "2024-01-02", "eval": "2024-01-03"}
    data = {"path": "logs", "logs": "*.csv", "event_key": ["id"], "event_time": "time"}
    return Config.model_validate(
        {
            "name": "gate_cost",
            "data": {**data, "user": "user", "day": {"column": "day", "format": "%Y%m%d"}, **days},
            "features": {"categorical": ["item"]},
            "scenario": {"column": "tab", "values": [name for name in SHARES if name != "other"]},
            "tasks": {task: {"label": f"{task} == 1"} for task in RATES},
        }
    )


class Scores(tf.Module):
    """Serves scores that stand in the rows.

    Args:
      version: Which of the two.
    """

    def __init__(self, version: int):
        super().__init__()
        self._version = version

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The scores, float32 [B], by task."""
        spec = {"scores": tf.io.FixedLenFeature([2, len(RATES)], tf.float32)}
        scores = tf.io.parse_example(examples, spec)["scores"][:, self._version]
        return dict(zip(RATES, tf.unstack(scores, axis=1), strict=True))

    @tf.function(input_signature=[])
    def request_columns(self) -> dict[str, tf.Tensor]:
        """Nothing that a request would carry."""
        return {"text": tf.zeros([0], tf.string)}


def prepare(folder: Path, rows: int) -> None:
    """Writes the rows and both versions of the model."""
    rng = np.random.default_rng(0)
    users = rng.zipf(1.3, rows) % (rows // 8)
    scenarios = rng.choice(list(SHARES), rows, p=list(SHARES.values()))
    logits = rng.normal(size=[rows, 1]) + rng.normal(size=[rows, len(RATES)])
    logits += np.log([rate / (1 - rate) for rate in RATES.values()])
    labels = rng.random([rows, len(RATES)]) < 1 / (1 + np.exp(-logits))
    noise = rng.normal(size=[rows, 1, len(RATES)]) + 0.2 * rng.normal(size=[rows, 2, len(RATES)])
    scores = 1 / (1 + np.exp(-logits[:, None] - noise))
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "rows.gz"), options) as out:
        for i in range(rows):
            example = tf.train.Example()
            feature = example.features.feature
            feature["user"].bytes_list.value.append(b"%d" % users[i])
            feature["_scenario"].bytes_list.value.append(str(scenarios[i]).encode())
            feature["scores"].float_list.value.extend(scores[i].ravel())
            for task, label in zip(RATES, labels[i], strict=True):
                feature[task].int64_list.value.append(int(label))
            out.write(example.SerializeToString())
    for version in (0, 1):
        model = Scores(version)
        signatures = {n: getattr(model, n) for n in ("serving_default", "request_columns")}
        tf.saved_model.save(model, str(folder / str(version)), signatures)


def analyse(folder: Path, settings: tfma.EvalConfig, output: str) -> None:
    """Runs TFMA on Beam's runner for one machine, as the Evaluator does."""
    tfma.run_model_analysis(
        tfma.default_eval_shared_model(str(folder / "0"), eval_config=settings),
        settings,
        data_location=str(folder / "rows.gz"),
        output_path=str(folder / output),
        pipeline_options=PipelineOptions(LOCAL),
    )


def auc_alone(settings: tfma.EvalConfig) -> tfma.EvalConfig:
    """The same tasks and slices with TFMA's AUC."""
    changed = tfma.EvalConfig()
    changed.CopyFrom(settings)
    del changed.metrics_specs[0].metrics[:]
    changed.metrics_specs[0].metrics.append(tfma.MetricConfig(class_name="AUC"))
    return changed


def run_side(side: str, folder: Path) -> dict[str, Any]:
    """Runs a side and returns its CPU seconds."""
    settings = config()
    started, wall = time.process_time(), time.monotonic()
    if side == "evaluator":
        analyse(folder, eval_config(settings), "cells")
    elif side == "auc":
        analyse(folder, auc_alone(eval_config(settings)), "auc")
    else:
        judge_model(
            settings,
            examples=str(folder / "rows.gz"),
            model=str(folder / "0"),
            evaluation=str(folder / "cells"),
            model_check={"problems": []},
            pushed={"version": 1, "path": str(folder / "1")},
            scores=str(folder / "scores.npz"),
        )
    return {"cpu": time.process_time() - started, "wall": time.monotonic() - wall}


def main() -> None:
    """Runs the sides in turn and prints the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help="run one side in --folder, alone")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--profile", action="store_true", help="of one side, print the profile")
    arguments = parser.parse_args()
    if arguments.side:
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        found = run_side(arguments.side, arguments.folder)
        if arguments.profile:
            profile.disable()
            profile.print_stats("tottime")
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "rows.gz").exists():
            prepare(folder, arguments.rows)
        seconds: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(arguments.repeats):
            for side in SIDES:
                command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                seconds[side].append(found["cpu"])
                print(
                    f"{side:<10} {found['cpu']:6.1f} s of CPU, {found['wall']:6.1f} s", flush=True
                )
    best = {side: round(min(times), 2) for side, times in seconds.items()}
    ratio = (best["evaluator"] + best["gate"]) / best["auc"]
    claim = {
        "name": "evaluator_and_gate_over_auc_alone",
        "value": round(ratio, 3),
        "unit": "CPU time ratio",
        "target": 1.5,
        "holds": ratio <= 1.5,
        "details": {"rows": arguments.rows, "cpu_seconds": best},
    }
    print(json.dumps([claim]))


if __name__ == "__main__":
    main()
