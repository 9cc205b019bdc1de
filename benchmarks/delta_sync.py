"""Deltas against whole pushes and against none: bytes, seconds and AUC, on real logs.

    python benchmarks/delta_sync.py FOLDER_OF_KUAIRAND [--seeds 1 2 3]

Ingests and transforms KuaiRand-Pure once, with the graph fitted on 04-25 to 04-29. Trains the model
of `configs/kuairand.yaml` on those days and pushes it; then, day by day from 04-30 to 05-05, trains
it on (one pass) and asks what is served on the next day's rows, through `serving_default`:

    full     every day the whole version
    all      every day a delta of all rows that differ
    policy   every day a delta by POLICY
    none     the first version, six days long

Statistics of past days are the same for all, since examples of past days carry them. After each
delta of `all`, every output is compared with that of the whole version.

KuaiRand's slice is small: the network and the statistics outweigh the embedding rows. So a second
part times a table of a million rows of 16 numbers, of which a day changed one in twenty.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import operator
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from support.daily_state import DailyStates, days_of
from support.kuairand import DATA, ROOT, Rows, fit_model, read_splits, run_once

from keras_models.metrics import auc
from keras_models.model import RankingModel
from keras_models.training import fit
from serving import versions
from serving.delta import (
    SyncPolicy,
    Version,
    make_delta,
    push_delta,
    read_delta,
    read_version,
    write_delta,
    write_version,
)
from serving.delta.sync_file import Lineage, Place, RowSync
from serving.delta.table import Rows as TableRows
from serving.delta.table import Table
from tfx_pipeline.artifacts import split_pattern
from tfx_pipeline.build_model import task_losses
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.run_fn import export_model
from tfx_pipeline.scoring import EvaluationRows, read_rows, score

CONFIG = ROOT / "configs/kuairand.yaml"
DAYS = [
    "data.train=2022-04-25..2022-04-29",
    "data.valid=2022-04-30",
    "data.eval=2022-05-01..2022-05-06",
    "serving.delta={}",
]
POLICY = SyncPolicy(min_updates=2, max_age_days=3, max_rows_per_field=2_000)
AUC_TARGET = 0.001
SIZE_TARGET = 0.2
_MIB = 1 << 20


@dataclass
class Way:
    """A way to keep what is served up to date.

    Args:
      base: Its folder of versions.
      policy: Which rows its deltas take; none for whole versions.
      updates: Whether it gets any.
    """

    base: Path
    policy: SyncPolicy | None = None
    updates: bool = True


def main() -> None:
    """Prints a line a day and way, then the claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    with tempfile.TemporaryDirectory() as folder:
        large = large_table(Path(folder, "large"))
        runs = []
        workdir = Path(folder, "run")
        run_once(CONFIG, arguments.data, workdir, ["training.epochs=1", *DAYS])
        for seed in arguments.seeds:
            config = load_config(CONFIG, [*DAYS, f"training.seed={seed}"])
            runs += one_seed(config, workdir, Path(folder, f"seed-{seed}"))
    print(json.dumps([*claims(runs, list(load_config(CONFIG).tasks)), large]))


def one_seed(config: Config, workdir: Path, scratch: Path) -> list[dict[str, Any]]:
    """A record a day and way."""
    (examples,) = (workdir / "pipeline").glob("LogExampleGen/examples/*")
    (state,) = (workdir / "pipeline").glob("LogExampleGen/feature_state/*")
    (graph,) = (workdir / "pipeline").glob("Transform/transform_graph/*")
    columns = sorted({column for s in config.features.statistics for column in s.by})
    raw = read_rows(
        split_pattern(str(examples), "*"),
        {name: task.kind for name, task in config.tasks.items()},
        [],
        {**dict.fromkeys(columns, tf.string), "_day": tf.int64},
    )
    states = DailyStates(raw, str(state))
    splits = read_splits(workdir)
    served = days_of(config)
    # A model of the last day that it has seen; the first one is that of the valid day's early stop.
    model, _ = fit_model(config, splits)

    def export(day: int) -> Path:
        folder = scratch / f"whole-{day}"
        states.write(scratch / f"state-{day}", day, scratch)
        transform = tft.TFTransformOutput(str(graph))
        export_model(model, transform, config, str(scratch / f"state-{day}"), str(folder))
        return folder

    scratch.mkdir()
    ways = {
        "full": Way(scratch / "full"),
        "all": Way(scratch / "all", SyncPolicy()),
        "policy": Way(scratch / "policy", POLICY),
        "none": Way(scratch / "none", updates=False),
    }
    # Early stopping read the valid day, but no row has learnt from it.
    first = export(served[0] - 2)
    for way in ways.values():
        versions.push(first, way.base, keep=2)
    records = []
    everything = {**splits}
    for day in served:
        trained = day - 1
        train_on(model, config, rows_of(everything, trained), scratch / f"fit-{day}")
        candidate = export(trained)
        whole_outputs: Mapping[str, np.ndarray] = {}
        for name, way in ways.items():
            record = update(way, candidate) if way.updates else {}
            newest = versions.latest(way.base)
            assert newest is not None
            rows = on_day(raw, day)
            outputs = score(tf.saved_model.load(str(newest[1])), rows.examples)
            whole_outputs = whole_outputs or outputs
            record |= {
                "seed": config.training.seed,
                "day": datetime.date.fromordinal(day).isoformat(),
                "way": name,
                "auc": {task: auc(labels, outputs[task]) for task, labels in rows.labels.items()},
                "largest_difference": max(
                    float(np.abs(outputs[task] - whole_outputs[task]).max()) for task in outputs
                ),
            }
            print(json.dumps(record), flush=True)
            records.append(record)
        shutil.rmtree(candidate)
    return records


def update(way: Way, candidate: Path) -> dict[str, Any]:
    """Brings a way's folder up to a candidate: bytes that travel, and seconds of CPU time."""
    if way.policy is None:
        start = time.process_time()
        versions.push(candidate, way.base, keep=2)
        return {"bytes": size(candidate), "apply_cpu_seconds": time.process_time() - start}
    number, folder = versions.latest(way.base) or (0, way.base)
    start = time.process_time()
    delta, counts = make_delta(
        read_version(folder), read_version(candidate), way.policy, number=number, where="candidate"
    )
    file = way.base.with_suffix(".delta")
    written = write_delta(delta, file)
    made = time.process_time() - start
    start = time.process_time()
    push_delta(read_delta(file), way.base, keep=2)
    return {
        "bytes": written,
        "make_cpu_seconds": made,
        "apply_cpu_seconds": time.process_time() - start,
        "rows": vars(counts),
    }


def train_on(model: RankingModel, config: Config, rows: Rows, scratch: Path) -> None:
    """One pass over a day. Its own rows stand for valid ones: with one pass nothing is picked."""
    settings = config.training
    fit(
        model,
        lambda _: rows.batches(settings.batch_size, settings.seed),
        rows.batches(4096),
        epochs=1,
        patience=1,
        learning_rate=settings.learning_rate,
        checkpoint_dir=scratch / "checkpoints",
        log_dir=scratch / "logs",
        checkpoint_every_steps=1_000_000,
        seed=settings.seed,
        xla=settings.xla,
        losses=task_losses(config, []),
    )


def rows_of(splits: Mapping[str, Rows], day: int) -> Rows:
    """The transformed rows of a day, of whichever split."""
    for rows in splits.values():
        chosen = rows.features["day"] == day
        if chosen.any():
            features = {name: values[chosen] for name, values in rows.features.items()}
            return Rows(features, rows.labels[chosen])
    raise ValueError(f"day {day}: found no row")


def on_day(rows: EvaluationRows, day: int) -> EvaluationRows:
    """The raw rows of a day."""
    chosen = rows.columns["_day"] == day
    labels = {task: values[chosen] for task, values in rows.labels.items()}
    return EvaluationRows(rows.examples[chosen], labels, rows.scenario[chosen])


def claims(records: list[dict[str, Any]], tasks: list[str]) -> list[dict[str, Any]]:
    """What the days say together."""

    def mean(way: str, *keys: str) -> float:
        found: list[Any] = [record for record in records if record["way"] == way]
        return statistics.mean(functools.reduce(operator.getitem, keys, r) for r in found)

    ways = ("full", "all", "policy", "none")
    quality = {way: {task: mean(way, "auc", task) for task in tasks} for way in ways}
    lost = max(quality["full"][task] - quality["policy"][task] for task in tasks)
    largest = max(r["largest_difference"] for r in records if r["way"] == "all")
    sizes = {way: mean(way, "bytes") / _MIB for way in ways[:3]}
    return [
        {
            "name": "delta_of_all_rows_is_the_whole_version",
            "value": largest,
            "unit": "largest difference of an output",
            "target": 0,
            "holds": largest == 0,
            "details": {"versions": sum(r["way"] == "all" for r in records)},
        },
        {
            "name": "delta_policy_auc_cost",
            "value": lost,
            "unit": "AUC, of the task that loses most against whole pushes",
            "target": AUC_TARGET,
            "holds": lost < AUC_TARGET,
            "details": {
                "auc": quality,
                "policy": vars(POLICY),
                "mib": sizes,
                "make_cpu_seconds": {w: mean(w, "make_cpu_seconds") for w in ("all", "policy")},
                "apply_cpu_seconds": {w: mean(w, "apply_cpu_seconds") for w in ways[:3]},
                "rows": {
                    way: {
                        kind: round(mean(way, "rows", kind))
                        for kind in ("served", "changed", "new", "removed", "waiting", "over")
                    }
                    for way in ("all", "policy")
                },
            },
        },
    ]


def large_table(folder: Path, rows: int = 1_000_000, dim: int = 16, changed: int = 20) -> Any:
    """A day's delta of a table of which one row in `changed` changed, against the whole version."""
    draw = np.random.default_rng(1)
    keys = draw.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, rows)
    values = draw.normal(size=(rows, dim)).astype(np.float32)
    sync = np.ones([3, rows], np.int32)
    network = draw.normal(size=(1000, 1000)).astype(np.float32)

    def version(day: int, values: np.ndarray, updates: np.ndarray) -> Version:
        table = Table(
            keys,
            TableRows(values),
            RowSync(updates, sync[0], sync[1], np.full(rows, day, np.int32)),
            TableRows(np.zeros([2, dim], np.float32)),
        )
        return Version(
            graph=b"",
            object_graph=b"",
            variables={"network": network + day},
            tables={"examples/tables/0": table},
            assets={},
            lineage=Lineage((1,), (("user", "item"),), ""),
            place=Place(day),
        )

    learnt = draw.random(rows) < 1 / changed
    later = np.where(learnt[:, None], values + np.float32(0.5), values)
    write_version(version(1, values, sync[2]), folder / "1")
    write_version(version(2, later, sync[2] + learnt), folder / "2")
    way = Way(folder / "served", SyncPolicy())
    versions.push(folder / "1", way.base, keep=2)
    found = update(way, folder / "2")
    full = Way(folder / "full")
    versions.push(folder / "1", full.base, keep=2)
    whole = update(full, folder / "2")
    share = found["bytes"] / whole["bytes"]
    return {
        "name": "delta_size_of_a_million_rows",
        "value": share,
        "unit": "of the whole version's bytes",
        "target": SIZE_TARGET,
        "holds": share < SIZE_TARGET,
        "details": {
            "mib": {"delta": found["bytes"] / _MIB, "whole": whole["bytes"] / _MIB},
            "make_cpu_seconds": found["make_cpu_seconds"],
            "apply_cpu_seconds": found["apply_cpu_seconds"],
            "whole_push_cpu_seconds": whole["apply_cpu_seconds"],
            "changed": int(learnt.sum()),
        },
    }


def size(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
