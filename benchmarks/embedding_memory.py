"""A row with all that belongs to it takes at most 1.3 times its embedding, optimizer and 24 bytes.

    python benchmarks/embedding_memory.py

The 24 bytes stand for the key, its score and whatever else there is. A table with 1.8M rows of 16
numbers is filled with more keys than it has room for and trained for a few steps. What it takes is
measured twice, and the greater counts: the bytes of all its variables by live row, so that empty
slots count too; and the resident memory of the process, as the difference from a process that did
the same with 0.2M rows, by the difference in live rows. There is no GPU in these processes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import tensorflow as tf
from support.dynamic_step import dynamic_step, fill
from support.static_step import DIM
from support.streams import SHAPE, ZipfStream, random_keys

from keras_models.embeddings import (
    Adagrad,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    LazyAdam,
    RowWiseAdagrad,
)
from keras_models.embeddings.optimizers import RowOptimizer

TARGET = 1.3
OVERHEAD = 24
CAPACITIES = (200_000, 1_820_000)
STEPS = 20
FIELDS = tuple(f"field_{number}" for number in range(SHAPE[1]))
OPTIMIZERS: dict[str, RowOptimizer] = {
    "adagrad": Adagrad(),
    "row_wise_adagrad": RowWiseAdagrad(),
    "lazy_adam": LazyAdam(),
}


def measure(optimizer: RowOptimizer, capacity: int) -> dict[str, int]:
    """Bytes of the variables and of this process after a few steps of a full embedding."""
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(fields=FIELDS, dim=DIM, capacity=capacity, optimizer=optimizer)
    )
    keys = fill(embedding, random_keys(int(1.125 * capacity), seed=1))
    step = dynamic_step(embedding)
    for batch in ZipfStream(keys, 1.0, seed=2).take(STEPS):
        step(tf.constant(batch))
    rows = embedding.statistics()["live_rows"]
    del keys, batch
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "live_rows": rows,
        "variables": sum(v.shape.num_elements() * v.dtype.size for v in embedding.variables),
        "resident": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def measure_apart(optimizer: str, capacity: int) -> dict[str, int]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--only", optimizer, str(capacity)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measures every optimizer in its own process; ends with a claim each as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs=2, metavar=("OPTIMIZER", "CAPACITY"), help="measure here")
    only = parser.parse_args().only
    if only:
        print(json.dumps(measure(OPTIMIZERS[only[0]], int(only[1]))))
        return
    claims = []
    for name, optimizer in OPTIMIZERS.items():
        few, many = (measure_apart(name, capacity) for capacity in CAPACITIES)
        variables = many["variables"] / many["live_rows"]
        rows = many["live_rows"] - few["live_rows"]
        resident = (many["resident"] - few["resident"]) / rows
        needed = 4 * DIM + 4 * optimizer.width(DIM) + OVERHEAD
        ratio = max(variables, resident) / needed
        claims.append(
            {
                "name": f"embedding_memory_{name}",
                "value": round(ratio, 3),
                "unit": f"times embedding, optimizer and {OVERHEAD} bytes",
                "target": TARGET,
                "holds": ratio <= TARGET,
                "details": {
                    "embedding, optimizer and 24 bytes": needed,
                    "variables, bytes a live row": round(variables, 1),
                    "resident, bytes a live row": round(resident, 1),
                    "live_rows": many["live_rows"],
                    "capacity": CAPACITIES[1],
                },
            }
        )
        print(claims[-1])
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
