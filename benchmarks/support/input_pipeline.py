"""Examples a CPU second that the Trainer's input pipeline reads, shuffles and parses.

    cd benchmarks && python -m support.input_pipeline

Run by `model_throughput.py`. The last line is JSON: CPU seconds an example, all threads together.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from support.impressions import BATCH, FIELDS, Impressions
from tfx_pipeline.config.training import TrainingConfig
from tfx_pipeline.transformed_rows import dataset

IDS = 100_000
TASKS = 2
NUMBERS = 16
EXAMPLES = 5 * BATCH
COPIES = 8
REPEATS = 5
SPEC = {
    "keys": tf.io.FixedLenFeature([FIELDS], tf.int64),
    "numbers": tf.io.FixedLenFeature([NUMBERS], tf.float32),
    "scenario": tf.io.FixedLenFeature([], tf.int64),
    "day": tf.io.FixedLenFeature([], tf.int64),
    "labels": tf.io.FixedLenFeature([TASKS], tf.float32),
}


def write(file: str) -> None:
    """Examples as Transform writes them; keys are fingerprints, which do not compress."""
    rng = np.random.default_rng(0)
    fingerprints = rng.integers(-(2**63), 2**63 - 1, [FIELDS, IDS])
    with tf.io.TFRecordWriter(file, "GZIP") as writer:
        for ids, labels in Impressions(IDS, TASKS).take(EXAMPLES // BATCH):
            for row, label in zip(fingerprints[np.arange(FIELDS), ids], labels, strict=True):
                example = tf.train.Example()
                feature = example.features.feature
                feature["keys"].int64_list.value.extend(row)
                feature["numbers"].float_list.value.extend(rng.normal(size=NUMBERS))
                feature["scenario"].int64_list.value.append(0)
                feature["day"].int64_list.value.append(0)
                feature["labels"].float_list.value.extend(label)
                writer.write(example.SerializeToString())


def read(files: list[str], buffer: int) -> float:
    """CPU seconds an example."""
    batches = dataset(files, SPEC, BATCH, shuffle_buffer=buffer, seed=1)
    start = time.process_time()
    count = sum(int(labels.shape[0]) for _, labels in batches)
    return (time.process_time() - start) / count


def main() -> None:
    """Measures and prints."""
    buffer = TrainingConfig().shuffle_buffer
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "examples.gz"))
        write(file)
        seconds = [read([file] * COPIES, buffer) for _ in range(REPEATS)]
    print(json.dumps({"seconds": statistics.median(seconds), "shuffle_buffer": buffer}))


if __name__ == "__main__":
    main()
