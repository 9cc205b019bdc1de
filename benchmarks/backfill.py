"""A backfill against training on the whole window at once, on real logs: AUC and time.

    python benchmarks/backfill.py FOLDER_OF_KUAIRAND [--seeds 1 2 3] [--skip-time]

Quality: `equipoise backfill` over 04-25 to 05-03, of which the first five days begin the lineage,
against `equipoise run` of the config as it is, which trains on the same nine days at once and stops
early on 05-04. Both are asked for 05-05 and 05-06, with the same rows; differences of AUC are
paired, users drawn again, and the mean over the seeds. A model that the gate held back counts too.

Time: one backfill over the same days, against a full retraining on all days so far on each day from
04-29 on, which is a command of its own. Both begin with the same work. The backfill is run in two
parts, half of the retrainings in between, so that a slow hour strikes both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from support.auc_bootstrap import ClusterBootstrap
from support.kuairand import BLOCKED_BY_GATE, DATA, EQUIPOISE, ROOT

from tfx_pipeline.artifacts import serving_dir, split_pattern
from tfx_pipeline.config import load_config
from tfx_pipeline.daily.record import read_records
from tfx_pipeline.scoring import read_rows, score

CONFIG = ROOT / "configs/kuairand.yaml"
FIRST, BEGUN, LAST = (
    datetime.date(2022, 4, 25),
    datetime.date(2022, 4, 29),
    datetime.date(2022, 5, 3),
)
WINDOW = (BEGUN - FIRST).days + 1
TIME_TARGET = 0.5
DRAWS = 500


def equipoise(
    command: str, workdir: Path, data: str, *sets: str, flags: Sequence[str] = ()
) -> None:
    """Runs a command on the config."""
    settings = [part for setting in (f"data.path={data}", *sets) for part in ("--set", setting)]
    done = subprocess.run(
        [EQUIPOISE, command, CONFIG, "--workdir", workdir, *settings, *flags],
        stdout=subprocess.DEVNULL,
    )
    if done.returncode not in (0, BLOCKED_BY_GATE):
        raise SystemExit(f"equipoise {command} ended with status {done.returncode}")


def main() -> None:
    """Prints a line a seed and day, then the claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--skip-time", action="store_true")
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    with tempfile.TemporaryDirectory() as folder:
        claims = [quality(arguments.data, arguments.seeds, Path(folder))]
        if not arguments.skip_time:
            claims.append(seconds(arguments.data, Path(folder)))
    print(json.dumps(claims))


def quality(data: str, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """The claim that a backfill ends as well as a training on all days at once."""
    config = load_config(CONFIG)
    drawn: dict[str, list[np.ndarray]] = {task: [] for task in config.tasks}
    aucs: dict[str, list[tuple[float, float]]] = {task: [] for task in config.tasks}
    held_back = 0
    for seed in seeds:
        equipoise("run", folder / "whole", data, f"training.seed={seed}")
        equipoise(
            "backfill",
            days := folder / f"days-{seed}",
            data,
            f"training.seed={seed}",
            f"daily.window={WINDOW}",
            flags=["--from", str(FIRST), "--to", str(LAST)],
        )
        records = read_records(str(days / "daily"))
        held_back += sum(not record.blessed for record in records.values())
        rows = read_rows(
            split_pattern(newest(folder / "whole", "LogExampleGen/examples"), "eval"),
            {name: task.kind for name, task in config.tasks.items()},
            [],
            {config.data.user: tf.string},
        )
        models = (records[LAST].model, newest(folder / "whole", "Trainer/model"))
        by_days, at_once = (
            score(tf.saved_model.load(serving_dir(model)), rows.examples) for model in models
        )
        bootstrap = ClusterBootstrap(rows.columns[config.data.user], DRAWS, seed=0)
        every = np.ones(len(rows.examples), bool)
        for task, labels in rows.labels.items():
            mine, theirs = (bootstrap.auc(labels, s[task], every) for s in (by_days, at_once))
            drawn[task].append(mine - theirs)
            aucs[task].append((float(mine[0]), float(theirs[0])))
        print(json.dumps({"seed": seed, "auc": {t: a[-1] for t, a in aucs.items()}}), flush=True)
    means = {task: np.mean(draws, axis=0) for task, draws in drawn.items()}
    changes = {
        task: {
            "backfill": float(np.mean([a for a, _ in aucs[task]])),
            "at_once": float(np.mean([b for _, b in aucs[task]])),
            "difference": float(found[0]),
            "interval": np.percentile(found[1:], [2.5, 97.5]).tolist(),
        }
        for task, found in means.items()
    }
    worst = min(changes, key=lambda task: changes[task]["interval"][1])
    return {
        "name": "backfill_no_worse_than_at_once",
        "value": changes[worst]["interval"][1],
        "unit": f"upper end of the 95% interval of the change of AUC, {worst}",
        "target": 0.0,
        "holds": changes[worst]["interval"][1] >= 0,
        "details": {"seeds": list(seeds), "auc": changes, "runs_held_back": held_back},
    }


def newest(workdir: Path, output: str) -> str:
    """Folder of the newest artifact of a component's output."""
    return str(max((workdir / "pipeline" / output).iterdir(), key=lambda path: int(path.name)))


def seconds(data: str, folder: Path) -> dict[str, Any]:
    """The claim about time."""
    days = [BEGUN + datetime.timedelta(days=i) for i in range((LAST - BEGUN).days + 1)]
    middle = len(days) // 2 + 1
    taken: dict[str, list[float]] = {"backfill": [], "run": []}
    for first, part in ((FIRST, days[:middle]), (days[middle], days[middle:])):
        flags = ["--from", str(first), "--to", str(part[-1])]
        _timed(taken, "backfill", folder, data, WINDOW, flags)
        for day in part:
            window = (day - FIRST).days + 1
            _timed(taken, "run", folder, data, window, ["--day", str(day), "--full"])
    ratio = sum(taken["backfill"]) / sum(taken["run"])
    return {
        "name": "backfill_against_full_retraining_every_day",
        "value": ratio,
        "unit": "wall time of the days together, ratio",
        "target": TIME_TARGET,
        "holds": ratio < TIME_TARGET,
        "details": {"seconds": taken, "load": os.getloadavg()[0]},
    }


def _timed(
    taken: dict[str, list[float]],
    command: str,
    folder: Path,
    data: str,
    window: int,
    flags: Sequence[str],
) -> None:
    """Runs a command and keeps the seconds that it took.

    Wall time: the processes of a backfill's days are no children of anything that is left to ask.
    """
    begun = time.perf_counter()
    equipoise(command, folder / f"timed-{command}", data, f"daily.window={window}", flags=flags)
    seconds = time.perf_counter() - begun
    print(json.dumps({"command": command, "flags": list(flags), "seconds": seconds}), flush=True)
    taken[command].append(seconds)


if __name__ == "__main__":
    main()
