"""Predicted over observed on KuaiRand-Pure, on the training rows and on days after, seed by seed.

    python benchmarks/kuairand_calibration.py FOLDER_OF_KUAIRAND [--seeds 1 2 3] [--set KEY=VALUE]

Runs `configs/kuairand.yaml` once for its rows and trains it with each seed. On the training rows
the ratio should be within 3% of 1. On the days after it may differ by what the rate of positives
has drifted since the training days, and by twice the noise of the positives. Prints every ratio and
AUC and ends with the worst training ratio as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from support.kuairand import DATA, ROOT, Rows, fit_model, read_splits, run_once

from keras_models.metrics import auc
from keras_models.model import RankingModel
from tfx_pipeline.config import load_config

CONFIG = ROOT / "configs/kuairand.yaml"
TARGET = 0.03


def logits(model: RankingModel, rows: Rows) -> np.ndarray:
    """Logits of all rows, [R, K]."""

    @tf.function(autograph=False)
    def predict(features: dict[str, tf.Tensor]) -> tf.Tensor:
        return model({name: features[name] for name in model.feature_spec})

    return np.concatenate([predict(features).numpy() for features, _ in rows.batches(8192)])


def ratio(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean prediction over mean label, [K]."""
    return np.mean(1 / (1 + np.exp(-found.astype(np.float64))), axis=0) / labels.mean(axis=0)


def main() -> None:
    """Trains the seeds and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workdir", type=Path, help="of a run of the config, to be used again")
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    if arguments.workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            run_once(CONFIG, arguments.data, Path(folder))
            rows = read_splits(Path(folder))
    else:
        rows = read_splits(arguments.workdir)
    train, evaluated = rows["train"].labels, rows["eval"].labels
    drift = train.mean(axis=0) / evaluated.mean(axis=0)
    noise = 2 / np.sqrt(evaluated.sum(axis=0))
    worst, outside, ratios = 0.0, [], {}
    for seed in arguments.seeds:
        settings = [f"data.path={arguments.data}", *arguments.set, f"training.seed={seed}"]
        config = load_config(CONFIG, settings)
        model, epoch = fit_model(config, rows)
        on_train = ratio(logits(model, rows["train"]), train)
        scores = logits(model, rows["eval"])
        on_eval = ratio(scores, evaluated)
        ratios[seed] = {"train": on_train.round(4).tolist(), "eval": on_eval.round(4).tolist()}
        worst = max(worst, float(np.abs(on_train - 1).max()))
        for k, task in enumerate(config.tasks):
            explained = abs(drift[k] - 1) + noise[k]
            if abs(on_eval[k] - 1) > explained:
                outside.append((seed, task))
            print(
                f"seed {seed} epoch {epoch.epoch} {task:<14} train {on_train[k]:.3f}  "
                f"eval {on_eval[k]:.3f} (explained: 1 +- {explained:.3f})  "
                f"AUC {auc(evaluated[:, k] > 0, scores[:, k]):.4f}",
                flush=True,
            )
    print(
        json.dumps(
            [
                {
                    "name": "kuairand_predicted_over_observed",
                    "value": worst,
                    "unit": "largest distance from 1 on the training rows",
                    "target": TARGET,
                    "holds": worst <= TARGET and not outside,
                    "details": {"ratios": ratios, "not explained": outside},
                }
            ]
        )
    )


if __name__ == "__main__":
    main()
