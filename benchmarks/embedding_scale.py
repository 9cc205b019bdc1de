"""A step costs the same with ten times the keys, and none takes a pause.

    python benchmarks/embedding_scale.py

Two claims about a training step on 4096 x 20 keys, rows of 16 numbers, with admission, decay and
eviction on; the tables are nearly full, and 1% of the keys are new.

- Scale: with 10M keys that have rows it costs at most 1.2 times what it costs with 1M. Both tables
  take turns in one process with one thread; what counts is the ratio of the median CPU times (wall
  times where there is a GPU). Keys are drawn from all that have rows, by Zipf's law. At one
  exponent, ten times the keys also mean more distinct keys in a batch, which is work that no table
  could save; so the exponent over 10M is chosen such that a batch has as many distinct keys as one
  of exponent 1.0 over 1M. The ratio at exponent 1.0 for both is among the details.
- No pause: with 1.8M keys the slowest of 2,000 steps takes less than 3 times the median.

Once in 64 half-lives a step rescales all scores. A third measurement, with a half-life so short
that this happens every 156 steps, tells what that step costs.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from support.dynamic_step import dynamic_step, fill
from support.streams import SHAPE, ZipfStream, random_keys
from support.timing import CLOCK, WARM_UP, take_turns, use_one_thread

from keras_models.embeddings import (
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    Policy,
)

SCALE_TARGET = 1.2
PAUSE_TARGET = 3.0
FEW, MANY, USUAL = 1_000_000, 10_000_000, 1_800_000
SCALE_STEPS = 300
PAUSE_STEPS = 2_000
RESCALE_STEPS = 320
RESCALE_HALF_LIFE = 10_000.0
FIELDS = tuple(f"field_{number}" for number in range(SHAPE[1]))


def filled(rows: int, policy: Policy) -> tuple[DynamicEmbedding, np.ndarray]:
    """A nearly full embedding with about that many rows, and the keys that have them."""
    capacity = int(1.012 * rows)
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(fields=FIELDS, capacity=capacity, policy=policy)
    )
    keys = fill(embedding, random_keys(int(1.14 * rows), seed=1))
    print(f"{len(keys):,} rows of {capacity:,}")
    return embedding, keys


def distinct(keys: int, exponent: float) -> float:
    """Expected distinct keys in a batch by Zipf's law."""
    share = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
    return float(-np.expm1(-SHAPE[0] * SHAPE[1] * share / share.sum()).sum())


def equal_exponent(few: int, many: int) -> float:
    """The exponent at which `many` keys give as many distinct ones as `few` at exponent 1.0."""
    wanted, low, high = distinct(few, 1.0), 1.0, 1.5
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if distinct(many, middle) > wanted else (low, middle)
    return low


def scale() -> dict[str, Any]:
    """The first claim."""
    few, few_keys = filled(FEW, Policy())
    many, many_keys = filled(MANY, Policy())
    few_step, many_step = dynamic_step(few), dynamic_step(many)
    exponents = [equal_exponent(len(few_keys), len(many_keys)), 1.0]
    results = []
    for seed, exponent in enumerate(exponents, start=2):
        few_batches = ZipfStream(few_keys, 1.0, seed).take(WARM_UP + SCALE_STEPS)
        many_batches = ZipfStream(many_keys, exponent, seed).take(WARM_UP + SCALE_STEPS)
        times = take_turns({"few": (few_step, few_batches), "many": (many_step, many_batches)})
        few_ms, many_ms = (1000 * float(np.median(times[name])) for name in ("few", "many"))
        results.append(
            {
                "ratio": round(many_ms / few_ms, 3),
                "exponent_of_many": round(exponent, 3),
                "few_ms": round(few_ms, 1),
                "many_ms": round(many_ms, 1),
                "few_distinct_keys": mean_distinct(few_batches),
                "many_distinct_keys": mean_distinct(many_batches),
            }
        )
        print(results[-1])
    equal, same_exponent = results
    return {
        "name": "embedding_scale",
        "value": equal["ratio"],
        "unit": "times the step with a tenth of the keys",
        "target": SCALE_TARGET,
        "holds": equal["ratio"] <= SCALE_TARGET,
        "details": {
            "clock": CLOCK,
            "few_rows": len(few_keys),
            "many_rows": len(many_keys),
            "equal distinct keys": equal,
            "zipf 1.0": same_exponent,
        },
    }


def mean_distinct(batches: list[np.ndarray]) -> int:
    """Distinct keys of a batch."""
    return round(float(np.mean([len(np.unique(batch)) for batch in batches[:10]])))


def pause() -> dict[str, Any]:
    """The second claim."""
    usual = slowest(Policy(), PAUSE_STEPS)
    rescaling = slowest(Policy(score=DecayedCount(half_life=RESCALE_HALF_LIFE)), RESCALE_STEPS)
    return {
        "name": "embedding_pause",
        "value": usual["slowest"],
        "unit": "times the median step, the slowest of 2,000",
        "target": PAUSE_TARGET,
        "holds": usual["slowest"] < PAUSE_TARGET,
        "details": {"clock": CLOCK, **usual, "with rescaling steps": rescaling},
    }


def slowest(policy: Policy, steps: int) -> dict[str, Any]:
    """The slowest steps of a run, as multiples of the median."""
    embedding, keys = filled(USUAL, policy)
    batches = ZipfStream(keys, 1.0, seed=2).take(WARM_UP + steps)
    before = embedding.statistics()
    times = take_turns({"dynamic": (dynamic_step(embedding), batches)})["dynamic"]
    after = embedding.statistics()
    ratios = np.sort(times / np.median(times))
    result = {
        "slowest": round(float(ratios[-1]), 2),
        "next_slowest": [round(float(ratio), 2) for ratio in ratios[-2:-6:-1]],
        "median_ms": round(1000 * float(np.median(times)), 1),
        "steps": steps,
        "rows": len(keys),
        "evictions": after["evictions"] - before["evictions"],
    }
    print(result)
    return result


def main() -> None:
    """Measures both claims; ends with them as JSON."""
    use_one_thread()
    print(json.dumps([scale(), pause()]))


if __name__ == "__main__":
    main()
