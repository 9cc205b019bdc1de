"""One worker of `distributed_step.py`; TF_CONFIG says which, and none that it is alone.

    cd benchmarks && python -m support.spread_worker [SHARES]

prints its times a step, and what went over the loopback device meanwhile, as JSON. The step is the
one that `fit` takes; before, every id is read often enough to be admitted. One that is alone takes
one of so many shares of each batch.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from support.impressions import BATCH, DIM, FIELDS, Impressions
from support.ranking_models import example, keys_of_ids, ranking_model, training_step
from support.timing import use_one_thread

IDS = 100_000
TASKS = 4
STEPS = 20
WARM_UP = 5
READS = 2
"""That many make an id's row be admitted."""


def main() -> None:
    """Trains, and says what it took."""
    use_one_thread()
    strategy = tf.distribute.get_strategy()
    index, workers = 0, int(sys.argv[1]) if len(sys.argv) > 1 else 1
    if "cluster" in json.loads(os.environ.get("TF_CONFIG", "{}")):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        index, workers = strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync
    share = slice(index * BATCH // workers, (index + 1) * BATCH // workers)
    read_at_once = BATCH * strategy.num_replicas_in_sync // workers
    with strategy.scope():
        model = ranking_model("ple", tasks=TASKS, ids=IDS)
        step = training_step(model, xla=False)
        keys = keys_of_ids(IDS)
        labels = np.zeros([BATCH, TASKS], np.float32)

        def run(ids: np.ndarray, labels: np.ndarray) -> None:
            step(*example(ids[share], labels[share], keys))

        for start in range(0, READS * IDS, read_at_once):
            rows = np.arange(start, start + read_at_once) % IDS
            run(np.tile(rows[:, None], [1, FIELDS]), labels)
        batches = Impressions(IDS, TASKS).take(WARM_UP + STEPS)
        for batch in batches[:WARM_UP]:
            run(*batch)
        sent, cpu, wall = _sent(), time.process_time(), time.perf_counter()
        for batch in batches[WARM_UP:]:
            run(*batch)
        taken = {
            "wall_ms": 1000 * (time.perf_counter() - wall) / STEPS,
            "cpu_ms": 1000 * (time.process_time() - cpu) / STEPS,
            "bytes_sent": (_sent() - sent) / STEPS,
        }
    distinct = [sum(len(np.unique(column)) for column in b.ids.T) for b in batches[WARM_UP:]]
    numbers = sum(int(np.prod(w.shape)) for w in model.trainable_variables)
    print(
        json.dumps(
            {
                **taken,
                "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "live_rows": int(model.embedding.statistics()["live_rows"]),
                "keys_bytes": 8 * BATCH * FIELDS,
                "row_gradient_bytes": 4 * DIM * float(np.mean(distinct)),
                "dense_gradient_bytes": 4 * numbers,
                # Logits and labels of every task, the scenario and the day of every example.
                "outputs_bytes": BATCH * (2 * 4 * TASKS + 8 + 8),
            }
        )
    )


def _sent() -> int:
    """Bytes that the loopback device has sent, those of other processes among them."""
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


if __name__ == "__main__":
    main()
