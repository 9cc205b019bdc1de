"""What embedding rows in fewer bytes cost in AUC and save on disk, on real logs.

    python benchmarks/serving_quantisation.py FOLDER_OF_KUAIRAND [--seeds 1 2 3]

Ingests and transforms KuaiRand-Pure once as `configs/kuairand.yaml` says and trains its model once
a seed. Exports it with rows in float32, float16 and int8 (`serving.embedding_rows`), and scores the
raw rows of the evaluation days through `serving_default` of each SavedModel, as the gate does.

Prints the pooled AUC of every task, and the sizes of the rows and of the folder. The claim: float16
and int8 cost less than .001 of AUC on any task, in the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tensorflow_transform as tft
from support.kuairand import DATA, ROOT, fit_model, read_splits, run_once

from keras_models.embeddings import RowFormat
from keras_models.metrics import auc
from tfx_pipeline.artifacts import split_pattern
from tfx_pipeline.config import load_config
from tfx_pipeline.run_fn import export_model
from tfx_pipeline.scoring import read_rows, score

CONFIG = ROOT / "configs/kuairand.yaml"
KINDS: tuple[RowFormat, ...] = ("float32", "float16", "int8")
TARGET = 0.001
_MIB = 1 << 20


def main() -> None:
    """Trains with each seed, exports in each format, and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    values: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as workdir:
        pipeline = Path(workdir, "pipeline")
        run_once(CONFIG, arguments.data, Path(workdir), ["training.epochs=1"])
        splits = read_splits(Path(workdir))
        config = load_config(CONFIG)
        kinds = {name: task.kind for name, task in config.tasks.items()}
        (examples,) = pipeline.glob("LogExampleGen/examples/*")
        (state,) = pipeline.glob("LogExampleGen/feature_state/*")
        (graph,) = pipeline.glob("Transform/transform_graph/*")
        rows = read_rows(split_pattern(str(examples), "eval"), kinds, [])
        for seed in arguments.seeds:
            model, epoch = fit_model(load_config(CONFIG, [f"training.seed={seed}"]), splits)
            for kind in KINDS:
                folder = Path(workdir, f"{kind}-{seed}")
                served = load_config(CONFIG, [f"serving.embedding_rows={kind}"])
                export_model(
                    model, tft.TFTransformOutput(str(graph)), served, str(state), str(folder)
                )
                outputs = score(tf.saved_model.load(str(folder)), rows.examples)
                found = {
                    task: auc(labels[labels >= 0], outputs[task][labels >= 0])
                    for task, labels in rows.labels.items()
                }
                tables = model.for_serving(embedding_rows=kind).embedding.tables
                sizes[kind] = (
                    sum(table.rows.num_bytes for table in tables) / _MIB,
                    sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / _MIB,
                )
                each = "  ".join(f"{task} {value:.5f}" for task, value in found.items())
                print(
                    f"seed {seed}  epoch {epoch.epoch}  {kind:<8} {each}  "
                    f"rows {sizes[kind][0]:.2f} MiB, folder {sizes[kind][1]:.2f} MiB",
                    flush=True,
                )
                for task, value in found.items():
                    if value is None:
                        raise SystemExit(f"{task}: the evaluation days hold one class alone")
                    values.setdefault((kind, task), []).append(value)
    cost = {
        (kind, task): statistics.mean(
            exact - narrow
            for exact, narrow in zip(values["float32", task], values[kind, task], strict=True)
        )
        for kind in KINDS[1:]
        for task in kinds
    }
    print(
        json.dumps(
            [
                {
                    "name": f"serving_{kind}_rows_auc_cost",
                    "value": max(cost[kind, task] for task in kinds),
                    "unit": "AUC, of the task that loses most",
                    "target": TARGET,
                    "holds": max(cost[kind, task] for task in kinds) < TARGET,
                    "details": {
                        "cost": {task: cost[kind, task] for task in kinds},
                        "auc": {task: values[kind, task] for task in kinds},
                        "seeds": arguments.seeds,
                        "rows_mib": sizes[kind][0],
                        "folder_mib": sizes[kind][1],
                        "float32_rows_mib": sizes["float32"][0],
                        "float32_folder_mib": sizes["float32"][1],
                    },
                }
                for kind in KINDS[1:]
            ]
        )
    )


if __name__ == "__main__":
    main()
