"""A training step on dynamic embeddings costs at most 1.25 times one on a static embedding.

    python benchmarks/embedding_step.py [--steps 200]
    python benchmarks/embedding_step.py --setup-tfra    # makes .venv-tfra; then the rival runs too

A step is look-up, squared loss, gradient and update, on 4096 x 20 keys drawn by Zipf's law from
about 1.8M keys that have rows, of 16 numbers. 1% of the keys are new: each occurs twice, is
admitted, and takes the place of another, for the table is nearly full. Admission (2 occurrences),
decay and eviction are on; the optimizer is Adagrad. The yardstick is a static `Embedding` of 2^21
rows, indexed by the low bits of the key, with Keras' Adagrad, sparse. Both take turns, step by
step, in one process with one thread; what counts is the ratio of their median CPU times (wall
times where there is a GPU) at Zipf's exponent 1.0. The other figures are for information.

The rival is TensorFlow Recommenders-Addons, in an environment of its own, against the same
yardstick in its own process. It runs where .venv-tfra, or --tfra PYTHON, is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support.dynamic_step import dynamic_step, fill
from support.static_step import static_step
from support.streams import SHAPE, ZipfStream, random_keys
from support.timing import CLOCK, WARM_UP, Step, take_turns, use_one_thread

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


class Measurement:
    """One table against the yardstick.

    Args:
      static: The yardstick's step.
      policy: Of the table.
      optimizer: Of the table.
    """

    def __init__(self, static: Step, policy: Policy, optimizer: RowOptimizer):
        config = DynamicEmbeddingConfig(
            fields=FIELDS, capacity=CAPACITY, policy=policy, optimizer=optimizer
        )
        self._embedding = DynamicEmbedding(config)
        self._keys = fill(self._embedding, random_keys(KEYS, seed=1), DAYS)
        # Days 0 to DAYS - 1 have passed; a day later the rows of day 0 have expired.
        self._steps = {"static": static, "dynamic": dynamic_step(self._embedding, DAYS + 1)}

    def run(self, exponent: float, steps: int, seed: int) -> dict[str, float]:
        """Ratio of the median steps, the medians in milliseconds, and what happened in a step."""
        before = self._embedding.statistics()
        batches = ZipfStream(self._keys, exponent, seed).take(WARM_UP + steps)
        sides = {name: (step, batches) for name, step in self._steps.items()}
        times = {name: np.median(values) for name, values in take_turns(sides).items()}
        after = self._embedding.statistics()
        a_step = {
            name: round((after[name] - before[name]) / len(batches))
            for name in ("admissions", "evictions", "expirations")
        }
        distinct = np.mean([len(np.unique(batch)) for batch in batches[:10]])
        return {
            "ratio": round(float(times["dynamic"] / times["static"]), 3),
            "static_ms": round(1000 * float(times["static"]), 1),
            "dynamic_ms": round(1000 * float(times["dynamic"]), 1),
            "distinct_keys": round(float(distinct)),
            "live_rows": before["live_rows"],
            **a_step,
        }


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


def set_up_tfra() -> None:
    """Makes TFRA's environment from its lock."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, TFRA], check=True)
    lock = ROOT / "requirements/tfra.txt"
    environment = {**os.environ, "VIRTUAL_ENV": str(TFRA)}
    subprocess.run([uv, "pip", "sync", "-q", lock], env=environment, check=True)


def main() -> None:
    """Measures each setting, prints it, and ends with the claim as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200, help="counted steps a setting")
    parser.add_argument("--tfra", type=Path, default=TFRA / "bin/python", metavar="PYTHON")
    parser.add_argument("--setup-tfra", action="store_true")
    arguments = parser.parse_args()
    if arguments.setup_tfra:
        set_up_tfra()
    use_one_thread()
    static = static_step(21)
    results = {}
    for name, policy, optimizer, exponents in [
        ("adagrad", Policy(), Adagrad(), (1.0, 0.8, 1.2)),
        ("adagrad, expiry, quotas, weights", ALL_POLICIES, Adagrad(), (1.0,)),
        ("row-wise adagrad", Policy(), RowWiseAdagrad(), (1.0,)),
        ("lazy adam", Policy(), LazyAdam(), (1.0,)),
    ]:
        measurement = Measurement(static, policy, optimizer)
        for seed, exponent in enumerate(exponents, start=2):
            setting = f"{name}, zipf {exponent}"
            results[setting] = measurement.run(exponent, arguments.steps, seed)
            print(setting, results[setting])
    rival = tfra(arguments.tfra, arguments.steps)
    print("tfra", rival)
    ratio = results["adagrad, zipf 1.0"]["ratio"]
    print(
        json.dumps(
            {
                "name": "embedding_step",
                "value": ratio,
                "unit": "times a static embedding's step",
                "target": TARGET,
                "holds": ratio <= TARGET,
                "details": {"clock": CLOCK, **results, "tfra, zipf 1.0": rival},
            }
        )
    )


if __name__ == "__main__":
    main()
