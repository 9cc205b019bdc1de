"""A training step on dynamic embeddings costs at most 1.25 times one on a static embedding.

    python benchmarks/embedding_step.py
    python benchmarks/embedding_step.py --setup-tfra    # makes .venv-tfra; then the rival runs too

A step is look-up, squared loss, gradient and update, on 4096 x 20 keys drawn by Zipf's law from
about 1.8M keys that have rows, of 16 numbers. 1% of the keys are new: each occurs twice, is
admitted, and takes the place of another, for the table is nearly full. Admission (2 occurrences),
decay and eviction are on; the optimizer is Adagrad. The yardstick is a static `Embedding` of 2^21
rows, indexed by the low bits of the key (no hash is cheaper), with Keras' Adagrad, sparse.

Both take turns, step by step, in one process with one thread, and the ratio of their median CPU
times counts (wall times where there is a GPU), at Zipf's exponent 1.0. That ratio is steady within
a process but differs between processes, with the pages that each was given; so the claim is about
the median of five processes. The other settings run once, for information.

The rival is TensorFlow Recommenders-Addons, in an environment of its own, against the same
yardstick in its own process. It runs where .venv-tfra, or --tfra PYTHON, is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from support.dynamic_step import dynamic_step, fill
from support.environments import make_environment
from support.static_step import static_step
from support.streams import SHAPE, ZipfStream, random_keys
from support.timing import CLOCK, WARM_UP, take_turns, use_one_thread

from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExpireAfter,
    FieldQuotas,
    LazyAdam,
    Policy,
    RowWiseAdagrad,
)
from keras_models.embeddings.optimizers import RowOptimizer

ROOT = Path(__file__).resolve().parents[1]
TFRA = ROOT / ".venv-tfra"
TARGET = 1.25
PROCESSES = 5
LIVE = 1_800_000
CAPACITY = 1_820_000
DAYS = 25
KEYS = DAYS * SHAPE[0] * SHAPE[1]  # A batch a day: more than there is room for.
FIELDS = tuple(f"field_{number}" for number in range(SHAPE[1]))
ALL_POLICIES = Policy(
    score=DecayedCount(weights={name: 2.0 for name in FIELDS[:5]}),
    expiry=ExpireAfter(DAYS),
    quotas=FieldQuotas({name: 0.2 for name in FIELDS[:5]}),
)


class Setting(NamedTuple):
    """What is measured against the yardstick.

    Args:
      exponent: Of Zipf's law.
      policy: Of the table.
      optimizer: Of the table.
    """

    exponent: float = 1.0
    policy: Policy = Policy()
    optimizer: RowOptimizer = Adagrad()


CLAIMED = "adagrad, zipf 1.0"
SETTINGS = {
    CLAIMED: Setting(),
    "adagrad, zipf 0.8": Setting(exponent=0.8),
    "adagrad, zipf 1.2": Setting(exponent=1.2),
    "adagrad, zipf 1.0, expiry, quotas, weights": Setting(policy=ALL_POLICIES),
    "row-wise adagrad, zipf 1.0": Setting(optimizer=RowWiseAdagrad()),
    "lazy adam, zipf 1.0": Setting(optimizer=LazyAdam()),
}


def measure(setting: Setting, steps: int) -> dict[str, float]:
    """Ratio of the median steps, the medians in milliseconds, and what happened in a step."""
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(
            fields=FIELDS, capacity=CAPACITY, policy=setting.policy, optimizer=setting.optimizer
        )
    )
    keys = fill(embedding, random_keys(KEYS, seed=1), DAYS)
    batches = ZipfStream(keys, setting.exponent, seed=2).take(WARM_UP + steps)
    before = embedding.statistics()
    # Days 0 to DAYS - 1 have passed; a day later the rows of day 0 have expired.
    dynamic = dynamic_step(embedding, DAYS + 1)
    times = take_turns({"static": (static_step(21), batches), "dynamic": (dynamic, batches)})
    static_ms, dynamic_ms = (1000 * float(np.median(times[name])) for name in times)
    after = embedding.statistics()
    return {
        "ratio": round(dynamic_ms / static_ms, 3),
        "static_ms": round(static_ms, 1),
        "dynamic_ms": round(dynamic_ms, 1),
        "distinct_keys": round(float(np.mean([len(np.unique(batch)) for batch in batches[:10]]))),
        "live_rows": before["live_rows"],
        **{
            name: round((after[name] - before[name]) / len(batches))
            for name in ("admissions", "evictions", "expirations")
        },
    }


def measure_apart(name: str, steps: int) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--only", name, "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(name, result, flush=True)
    return result


def tfra(python: Path, steps: int) -> dict[str, Any]:
    """TFRA's times against its own yardstick; why there are none where it is not installed."""
    if not python.is_file():
        return {"skipped": f"no {python}; --setup-tfra makes it"}
    module = "support.tfra_step"
    command = [str(python), "-m", module, "--steps", str(steps), "--live", str(LIVE)]
    done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    times = json.loads(done.stdout.splitlines()[-1])
    return {
        "ratio": round(times["tfra_ms"] / times["static_ms"], 2),
        "ratio_with_policy": round(times["tfra_with_policy_ms"] / times["static_ms"], 2),
        **times,
    }


def main() -> None:
    """Measures each setting, prints it, and ends with the claim as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200, help="counted steps a process")
    parser.add_argument("--tfra", type=Path, default=TFRA / "bin/python", metavar="PYTHON")
    parser.add_argument("--setup-tfra", action="store_true")
    parser.add_argument("--only", choices=SETTINGS, help="measure it here, once")
    arguments = parser.parse_args()
    steps = arguments.steps
    if arguments.only:
        use_one_thread()
        print(json.dumps(measure(SETTINGS[arguments.only], steps)))
        return
    if arguments.setup_tfra:
        make_environment("tfra")
    claimed = [measure_apart(CLAIMED, steps) for _ in range(PROCESSES)]
    others = {name: measure_apart(name, steps) for name in SETTINGS if name != CLAIMED}
    rival = tfra(arguments.tfra, steps)
    print("tfra", rival)
    ratio = statistics.median(run["ratio"] for run in claimed)
    print(
        json.dumps(
            {
                "name": "embedding_step",
                "value": ratio,
                "unit": "times a static embedding's step",
                "target": TARGET,
                "holds": ratio <= TARGET,
                "details": {
                    "clock": CLOCK,
                    CLAIMED: claimed,
                    **others,
                    "tfra, zipf 1.0": rival,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
