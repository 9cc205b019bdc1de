"""A table of 5M rows is exported in less than 10 s, and loads in less than 5 s without this code.

    python benchmarks/embedding_export.py

A table of 16 numbers a row is filled with more keys than it has room for and exported: freezing it
in an `ExportedEmbedding` and `tf.saved_model.save` are one time. The other is that of a fresh
process that imports neither TensorFlow nor this package: start of Python, TensorFlow's C++ library,
the C++ loader that TensorFlow Serving uses, and one request. What it answers must equal, bit by
bit, what the live table reads: known keys their rows, unknown keys their field's shared row. Both
times are wall times; the CPU times beside them tell how busy the machine was.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from support.dynamic_step import fill
from support.streams import SHAPE, random_keys

from keras_models.embeddings import (
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExportedEmbedding,
    MinCount,
    Policy,
)
from serving.cpp_loader import run_in_fresh_process

ROWS = 5_000_000
EXPORT_TARGET = 10.0
LOAD_TARGET = 5.0
FIELDS = tuple(f"field_{number}" for number in range(SHAPE[1]))
KNOWN, UNKNOWN = 1_000, 10


class Model(tf.Module):
    """Serves the embeddings of serialized examples.

    Args:
      embedding: The trained layer.
    """

    def __init__(self, embedding: DynamicEmbedding):
        super().__init__()
        self.embedding = ExportedEmbedding(embedding)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 [B, fields * 16] from serialized tf.Examples [B]."""
        features = {"keys": tf.io.FixedLenFeature([len(FIELDS)], tf.int64)}
        keys = tf.io.parse_example(examples, features)["keys"]
        return {"embedded": self.embedding(keys).fields}


def serialized(keys: np.ndarray) -> bytes:
    """A tf.Example with the keys of one row of the matrix."""
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=keys))
    example = tf.train.Example(features=tf.train.Features(feature={"keys": feature}))
    content: bytes = example.SerializeToString()
    return content


def children_cpu() -> float:
    """Seconds of CPU time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Fills, exports, loads and compares; ends with both claims as JSON."""
    policy = Policy(admission=MinCount(1))
    embedding = DynamicEmbedding(
        DynamicEmbeddingConfig(fields=FIELDS, capacity=int(1.02 * ROWS), policy=policy)
    )
    live = fill(embedding, random_keys(int(1.1 * ROWS), seed=1))
    print(f"{len(live):,} live rows")
    rng = np.random.default_rng(2)
    keys = np.concatenate(
        [
            rng.choice(live, (KNOWN, len(FIELDS))),
            rng.integers(-(2**63), 2**63 - 1, (UNKNOWN, len(FIELDS))),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        model = Model(embedding)
        freeze = time.perf_counter() - start
        tf.saved_model.save(model, folder, signatures=model.serve)
        export, export_cpu = time.perf_counter() - start, time.process_time() - cpu
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        print(f"exported in {export:.1f} s ({export_cpu:.1f} s CPU), {size / 2**20:,.0f} MiB")
        examples = [serialized(row) for row in keys]
        start, cpu = time.perf_counter(), children_cpu()
        answer = run_in_fresh_process(folder, examples)["embedded"]
        load, load_cpu = time.perf_counter() - start, children_cpu() - cpu
        print(f"loaded and asked in {load:.1f} s ({load_cpu:.1f} s CPU)")
    np.testing.assert_array_equal(answer, embedding(tf.constant(keys)).numpy())
    (table,) = embedding.tables
    np.testing.assert_array_equal(
        answer[KNOWN:], np.tile(tf.reshape(table.shared_rows(), [1, -1]), [UNKNOWN, 1])
    )
    assert len(live) >= ROWS and (table.find(tf.reshape(keys[:KNOWN], [-1])).numpy() >= 0).all()
    print(
        json.dumps(
            [
                {
                    "name": "embedding_export",
                    "value": round(export, 2),
                    "unit": "s",
                    "target": EXPORT_TARGET,
                    "holds": export < EXPORT_TARGET,
                    "details": {
                        "live_rows": len(live),
                        "freeze_s": round(freeze, 2),
                        "cpu_s": round(export_cpu, 2),
                        "mebibytes": round(size / 2**20),
                    },
                },
                {
                    "name": "embedding_export_load",
                    "value": round(load, 2),
                    "unit": "s, from the start of the process to its first answer",
                    "target": LOAD_TARGET,
                    "holds": load < LOAD_TARGET,
                    "details": {
                        "live_rows": len(live),
                        "examples": len(keys),
                        "cpu_s": round(load_cpu, 2),
                    },
                },
            ]
        )
    )


if __name__ == "__main__":
    main()
