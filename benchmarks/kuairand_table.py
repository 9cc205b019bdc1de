"""Every preset on a real log: AUC by task and scenario, with intervals.

    python benchmarks/kuairand_table.py FOLDER_OF_KUAIRAND [--work runs/kuairand_table]

KuaiRand-Pure is ingested and transformed once; all presets read the same rows and features, and
none is tuned by hand. Each is trained with every setting of one common list (`SETTINGS`) and one
seed, and the valid day picks its setting; with that it is trained with each seed, and scores the
evaluation days once. The epoch is always the valid day's choice too.

What picks is the mean, on the valid day, of the figures that the claim is about: AUC of click and
long_view pooled and in each of the five tabs ("cells"), and their GAUC.

The table has the mean over seeds by task, pooled and by tab, and the GAUC by user, with 95%
intervals from a bootstrap over users. Presets are compared pairwise on the same rows, seeds and
bootstrap draws.

Trainings are kept in --work, and what is there is not done again; --jobs says how many run at once.
The last line is the claims as JSON: the preset that the valid day picks beats LightGBM (untuned, on
past-days rates of user, video and author; measured elsewhere on the same rows) in every figure
there is, and PEPNet, HiNet and PLE each beat Shared-Bottom in the mean over cells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
from support.auc_bootstrap import ClusterBootstrap
from support.kuairand import DATA, Rows, read_splits, run_once, train

from keras_models.metrics import auc, gauc
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.config.presets import PRESETS

CONFIG = Path(__file__).with_suffix(".yaml")
TASKS = ("click", "long_view", "like", "profile_enter")
CELL_TASKS = ("click", "long_view")
TABS = ("0", "1", "2", "4", "6")
_NARROW = ["model.embedding.dim=8", "model.loss.scenario_weights=equal"]
SETTINGS: dict[str, list[str]] = {
    "wide": ["model.embedding.dim=16", "model.loss.scenario_weights=equal"],
    "narrow": _NARROW,
    "narrow, small batches": [*_NARROW, "training.batch_size=512"],
    "narrow, dropout": [*_NARROW, "model.dropout=0.2"],
    "narrow, dropout, small batches": [*_NARROW, "model.dropout=0.2", "training.batch_size=512"],
    "narrow, much dropout": [*_NARROW, "model.dropout=0.4"],
    "narrow, few rows": [*_NARROW, "model.embedding.capacity=4096"],
    "narrow, weighted tabs": [_NARROW[0], "model.loss.scenario_weights=inverse_size"],
}
"""What every preset is tried with."""
NEEDS = {
    "esmm": ["tasks.long_view.after=click"],
    "pepnet": [
        "model.ppnet.prior=[user_id, video_id, author_id]",
        "model.epnet.domain=[tab, stat:user_id+tab:click:rate, stat:user_id+tab:long_view:rate, "
        "stat:video_id+tab:click:rate, stat:video_id+tab:long_view:rate]",
    ],
    "dupn": [
        "features.history={items: [video_id, author_id], labels: [click, long_view], length: 20}"
    ],
    "meituan": [
        "tasks.long_view_given_click={label: long_view == 1, space: is_click == 1}",
        "model.loss.kl_bounds=[{product: [click, long_view_given_click], equals: long_view}]",
    ],
}
"""What a preset's config says besides its name."""
LIGHTGBM = {
    ("click", "*"): 0.738,
    ("long_view", "*"): 0.739,
    ("click", "0"): 0.659,
    ("click", "1"): 0.690,
    ("click", "2"): 0.771,
    ("click", "4"): 0.686,
    ("click", "6"): 0.749,
    ("long_view", "0"): 0.688,
    ("long_view", "1"): 0.698,
    ("long_view", "2"): 0.749,
    ("long_view", "4"): 0.694,
    ("long_view", "6"): 0.757,
    ("click", "GAUC"): 0.599,
    ("long_view", "GAUC"): 0.618,
}
SEARCH_SEED = 1
DRAWS = 400


def config_of(preset: str, setting: str, seed: int) -> Config:
    """A preset's config."""
    sets = [f"model.preset={preset}", f"training.seed={seed}", *NEEDS.get(preset, [])]
    return load_config(CONFIG.parent.parent / "configs/kuairand.yaml", [*sets, *SETTINGS[setting]])


def trial_file(work: Path, preset: str, setting: str, seed: int) -> Path:
    """Where a training's result lies."""
    return work / "trials" / f"{preset} - {setting} - {seed}.npz"


def train_one(config: Config, splits: dict[str, Rows], result: Path) -> None:
    """Trains, and writes the quality on the valid day and the scores of the evaluation days."""
    all_tasks = list(load_config(CONFIG).tasks)
    kept = [all_tasks.index(task) for task in config.tasks]
    rows = {}
    for split, found in splits.items():
        features = {**found.features, "spaces": found.features["spaces"][:, kept]}
        if config.features.history is None:
            features = {n: v for n, v in features.items() if not n.startswith("history_")}
        rows[split] = Rows(features, found.labels[:, kept])
    started = time.monotonic()
    best, logits = train(config, rows)
    columns = [list(config.tasks).index(task) for task in TASKS]
    valid = figures(config, rows["valid"], logits["valid"])
    partial = result.with_suffix(".partial.npz")
    np.savez(partial, valid=valid, epoch=best.epoch, logits=logits["eval"][:, columns])
    partial.rename(result)
    print(
        f"{result.stem:<50} valid {valid.mean():.4f}  epoch {best.epoch}  "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )


def figures(config: Config, rows: Rows, logits: np.ndarray) -> np.ndarray:
    """The figures that LightGBM has, in its order: float64 [14]."""
    tabs = np.array(config.scenario.names)[rows.features["scenario"]]
    users = rows.features["keys"][:, config.features.fields.index("user_id")]
    found = []
    for task, cell in LIGHTGBM:
        column = list(config.tasks).index(task)
        labels, scores = rows.labels[:, column], logits[:, column]
        if cell == "GAUC":
            found.append(gauc(labels, scores, users))
        else:
            mask = (tabs == cell) | (cell == "*")
            found.append(auc(labels[mask], scores[mask]))
    return np.array(found, np.float64)


def train_preset(work: Path, preset: str, seeds: Sequence[int]) -> None:
    """All trainings of a preset that are not there yet."""
    splits = None
    for setting, seed in plan(work, preset, seeds):
        result = trial_file(work, preset, setting, seed)
        if not result.exists():
            splits = splits or read_splits(work)
            train_one(config_of(preset, setting, seed), splits, result)


def plan(work: Path, preset: str, seeds: Sequence[int]) -> Any:
    """(setting, seed) of each training; the search comes before what it decides."""
    yield from ((setting, SEARCH_SEED) for setting in SETTINGS)
    yield from ((chosen(work, preset), seed) for seed in seeds)


def chosen(work: Path, preset: str) -> str:
    """The setting that is best on the valid day."""
    return max(SETTINGS, key=lambda s: valid_of(trial_file(work, preset, s, SEARCH_SEED)))


def valid_of(result: Path) -> float:
    """A training's quality on the valid day: the mean of its figures."""
    return float(np.mean(np.load(result)["valid"]))


def train_all(
    work: Path, data: str, presets: Sequence[str], seeds: Sequence[int], jobs: int
) -> None:
    """A process a preset, some at once."""
    (work / "trials").mkdir(parents=True, exist_ok=True)
    waiting = list(presets)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            arguments = [data, "--work", str(work), "--only", waiting.pop(0), "--seeds"]
            command = [sys.executable, __file__, *arguments, *map(str, seeds)]
            running.append(subprocess.Popen(command))
        done = [process for process in running if process.poll() is not None]
        for process in done:
            running.remove(process)
            if process.returncode:
                raise SystemExit(f"a training ended with status {process.returncode}")
        time.sleep(0.5)


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--work", type=Path, default=Path("runs/kuairand_table"))
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--only", choices=list(PRESETS), help="train one preset here, no table")
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    if arguments.only:
        train_preset(arguments.work, arguments.only, arguments.seeds)
        return
    if not (arguments.work / "pipeline" / "Transform" / "transformed_examples").is_dir():
        run_once(CONFIG, arguments.data, arguments.work)
    train_all(arguments.work, arguments.data, arguments.presets, arguments.seeds, arguments.jobs)
    table(arguments.work, arguments.presets, arguments.seeds)


def table(work: Path, presets: Sequence[str], seeds: Sequence[int]) -> None:
    """Prints the table, the comparisons and the claims."""
    config = load_config(CONFIG)
    rows = read_splits(work)["eval"]
    names = np.array(config.scenario.names)[rows.features["scenario"]]
    users = rows.features["keys"][:, config.features.fields.index("user_id")]
    labels = {task: rows.labels[:, list(config.tasks).index(task)] for task in TASKS}
    bootstrap = ClusterBootstrap(users, DRAWS, seed=0)
    cells = {(task, tab): names == tab for task in TASKS for tab in TABS}
    cells |= {(task, "*"): np.ones(len(names), bool) for task in TASKS}

    settings = {preset: chosen(work, preset) for preset in presets}
    valid, values = {}, {}
    for preset in presets:
        trials = [np.load(trial_file(work, preset, settings[preset], seed)) for seed in seeds]
        valid[preset] = np.mean([trial["valid"] for trial in trials], axis=0)
        for (task, tab), mask in cells.items():
            scores = [trial["logits"][:, TASKS.index(task)] for trial in trials]
            values[preset, task, tab] = np.mean(
                [bootstrap.auc(labels[task], score, mask) for score in scores], axis=0
            )
        for task in TASKS:
            scores = [trial["logits"][:, TASKS.index(task)] for trial in trials]
            values[preset, task, "GAUC"] = np.mean(
                [bootstrap.gauc(labels[task], score) for score in scores], axis=0
            )
        values[preset, "click, long_view", "cells"] = np.mean(
            [values[preset, task, tab] for task in CELL_TASKS for tab in TABS], axis=0
        )
        print(f"scored {preset}", flush=True)

    columns = ["*", "GAUC", *TABS]
    for task in TASKS:
        print(f"\n### {task}\n")
        print("| preset | " + " | ".join(["all", *columns[1:]]) + " |")
        print("| --- |" + " --- |" * len(columns))
        if (task, "*") in LIGHTGBM:
            figures = [f"{LIGHTGBM[task, c]:.3f}" for c in columns]
            print("| LightGBM | " + " | ".join(figures) + " |")
        for preset in presets:
            figures = [_interval(values[preset, task, c]) for c in columns]
            print(f"| {preset} | " + " | ".join(figures) + " |")

    print("\n### Mean over cells, and against Shared-Bottom\n")
    print(
        "| preset | setting | all 14, valid day | cells, valid day | cells | less Shared-Bottom | "
        "cells that fell |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    is_cell = [cell in TABS for _, cell in LIGHTGBM]
    for preset in presets:
        mean = values[preset, "click, long_view", "cells"]
        change, fallen = np.zeros(1), []
        if "shared_bottom" in presets:
            change = mean - values["shared_bottom", "click, long_view", "cells"]
            fallen = [
                f"{task}/{tab}"
                for task in TASKS
                for tab in TABS
                if _upper(values[preset, task, tab] - values["shared_bottom", task, tab]) < 0
            ]
        print(
            f"| {preset} | {settings[preset]} | {valid[preset].mean():.4f} | "
            f"{valid[preset][is_cell].mean():.4f} | {_interval(mean)} | "
            f"{_interval(change, signed=True)} | {', '.join(fallen) or 'none'} |"
        )
    claims(presets, valid, values)


def claims(
    presets: Sequence[str],
    valid: dict[str, np.ndarray],
    values: dict[tuple[str, str, str], np.ndarray],
) -> None:
    """Prints the claims as JSON."""
    best = max(presets, key=lambda preset: float(valid[preset].mean()))
    ahead = {
        f"{task}/{cell}": round(float(values[best, task, cell][0]) - figure, 4)
        for (task, cell), figure in LIGHTGBM.items()
    }
    found = [
        {
            "name": "kuairand_best_preset_less_lightgbm",
            "value": min(ahead.values()),
            "unit": "AUC, the least over pool, GAUC and tabs",
            "target": 0.0,
            "holds": min(ahead.values()) > 0,
            "details": {"preset": best, **ahead},
        }
    ]
    for preset in ("pepnet", "hinet", "ple"):
        if {preset, "shared_bottom"} <= set(presets):
            key = ("click, long_view", "cells")
            change = values[preset, key[0], key[1]] - values["shared_bottom", key[0], key[1]]
            found.append(
                {
                    "name": f"kuairand_{preset}_less_shared_bottom",
                    "value": round(float(change[0]), 4),
                    "unit": "AUC, mean over cells",
                    "target": 0.0,
                    "holds": bool(change[0] > 0),
                    "details": {"interval": [round(v, 4) for v in _ends(change)]},
                }
            )
    print(json.dumps(found))


def _ends(values: np.ndarray) -> list[float]:
    """95% interval; the first of the values is the estimate, the others are of the draws."""
    return [float(v) for v in np.nanpercentile(values[1:], [2.5, 97.5])] if len(values) > 1 else []


def _upper(values: np.ndarray) -> float:
    return _ends(values)[1]


def _interval(values: np.ndarray, signed: bool = False) -> str:
    if len(values) == 1:
        return "-"
    low, high = _ends(values)
    sign = "+" if signed else ""
    return f"{values[0]:{sign}.4f} ({low:{sign}.3f} to {high:{sign}.3f})"


if __name__ == "__main__":
    main()
