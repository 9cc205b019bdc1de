"""Quality on real logs: AUC of clicks and long views on KuaiRand-Pure, as the mean of 3 seeds.

    python benchmarks/kuairand_seeds.py FOLDER_OF_KUAIRAND [--seeds 1 2 3]

Runs `configs/kuairand.yaml` once a seed (all of ingestion and transform is reused after the
first), prints each seed's AUC, pooled and by tab, and ends with the means as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EQUIPOISE = Path(sys.executable).with_name("equipoise")
TARGET = 0.70
BLOCKED_BY_GATE = 3


def run(data: str, workdir: str, seed: int) -> tuple[dict[str, Any], float]:
    """The summary of a run with one seed, and its seconds."""
    settings = [f"data.path={data}", f"training.seed={seed}"]
    sets = [part for setting in settings for part in ("--set", setting)]
    started = time.monotonic()
    done = subprocess.run(
        [EQUIPOISE, "run", ROOT / "configs/kuairand.yaml", "--workdir", workdir, *sets],
        stdout=subprocess.DEVNULL,
    )
    # A seed may fall behind the one before it in some cell; here that is no failure.
    if done.returncode not in (0, BLOCKED_BY_GATE):
        raise SystemExit(f"equipoise run ended with status {done.returncode}")
    return json.loads(Path(workdir, "summary.json").read_text()), time.monotonic() - started


def main() -> None:
    """Runs the seeds and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(ROOT.parent / "shared/data/kuairand_pure"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        print(f"skipped: no folder {arguments.data}; give that of KuaiRand-Pure's files")
        return
    values: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as workdir:
        for seed in arguments.seeds:
            summary, seconds = run(arguments.data, workdir, seed)
            print(f"seed {seed}: {seconds:.0f} s")
            for cell in summary["metrics"]:
                if cell["task"] in ("click", "long_view"):
                    values.setdefault((cell["task"], cell["scenario"]), []).append(cell["auc"])
    for (task, scenario), aucs in values.items():
        each = "  ".join(f"{auc:.4f}" for auc in aucs)
        print(f"{task:<10} {scenario:<6} {each}  mean {statistics.mean(aucs):.4f}")
    print(
        json.dumps(
            [
                {
                    "name": f"kuairand_auc_{task}",
                    "value": statistics.mean(values[task, "*"]),
                    "unit": "AUC",
                    "target": TARGET,
                    "holds": statistics.mean(values[task, "*"]) >= TARGET,
                    "details": {
                        "seeds": arguments.seeds,
                        **{s: aucs for (t, s), aucs in values.items() if t == task},
                    },
                }
                for task in ("click", "long_view")
            ]
        )
    )


if __name__ == "__main__":
    main()
