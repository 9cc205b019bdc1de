"""A small training in a process of its own: on one device, two replicas, or as one of two workers.

Devices and workers have to be set up before TensorFlow starts. Run with the strategy and a folder,
it writes the history, and leaves the result there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models import training
from keras_models.backbones import Ple, Star
from keras_models.embeddings import DecayedCount, DynamicEmbedding, DynamicEmbeddingConfig, Policy
from keras_models.losses import TaskLosses
from keras_models.model import RankingModel
from keras_models.tasks import Task

F, M, ROWS, BATCH, EPOCHS = 3, 2, 300, 32, 3
TASKS = (Task("click"), Task("like", 0.5), Task("order", kind="ranking"))
"""A binary task with a sample space, trained weights, and one that ranks within requests: losses
that are no mean over a share's examples."""


def rows(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """An epoch's examples, in order; requests of four."""
    rng = np.random.default_rng(seed)
    keys = rng.zipf(1.5, (ROWS, F)) % 40 + 1000 * np.arange(F)
    numbers = rng.normal(size=(ROWS, 2)).astype(np.float32)
    logit = numbers[:, 0] + keys[:, 0] % 3 - 1
    labels = rng.uniform(size=(ROWS, 3)) < 1 / (1 + np.exp(-logit[:, None]))
    features = {
        "keys": keys.astype(np.int64),
        "numbers": numbers,
        "scenario": rng.integers(0, M, ROWS),
        "day": np.full(ROWS, seed),
        "spaces": (rng.uniform(size=(ROWS, 3)) < [1, 0.5, 1]).astype(np.float32),
        "request": np.arange(ROWS) // 4,
    }
    return features, labels.astype(np.float32)


def batches(seed: int, part: int = 0, parts: int = 1) -> tf.data.Dataset:
    """A worker's share of every batch: an equal run of its rows, the last one's rest too."""
    features, labels = rows(seed)
    size = BATCH // parts
    own = np.concatenate(
        [
            np.arange(ROWS)[start + part * size : min(start + (part + 1) * size, start + BATCH)]
            for start in range(0, ROWS, BATCH)
        ]
    )
    chosen = ({name: values[own] for name, values in features.items()}, labels[own])
    return tf.data.Dataset.from_tensor_slices(chosen).batch(size)


def model(backbone: str) -> RankingModel:
    """Of two tasks with a trained table."""
    keras.utils.set_random_seed(7)
    return RankingModel(
        tasks=TASKS,
        num_numbers=2,
        num_scenarios=M,
        backbone=Ple(len(TASKS), expert_units=[16])
        if backbone == "ple"
        else Star(len(TASKS), num_scenarios=M, units=[16]),
        tower_units=[8],
        embedding=DynamicEmbedding(
            DynamicEmbeddingConfig(
                fields=("a", "b", "c"), dim=4, capacity=64, policy=Policy(score=DecayedCount(500.0))
            )
        ),
    )


def train(backbone: str, folder: Path, part: int, parts: int, kill_at: int) -> dict[str, Any]:
    """Trains, until it kills itself before that many batches."""
    left = kill_at

    def of_epoch(epoch: int) -> tf.data.Dataset:
        def count(*batch: Any) -> Any:
            def check() -> np.int64:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return np.int64(0)

            with tf.control_dependencies([tf.numpy_function(check, [], tf.int64)]):
                return tf.nest.map_structure(tf.identity, batch)

        found = batches(epoch, part, parts)
        return found.map(count) if kill_at else found

    history = training.fit(
        model(backbone),
        of_epoch,
        batches(99),
        epochs=EPOCHS,
        patience=EPOCHS,
        learning_rate=0.01,
        checkpoint_dir=folder / "checkpoints",
        log_dir=folder / f"logs-{part}",
        checkpoint_every_steps=4,
        seed=5,
        xla=False,
        losses=TaskLosses(TASKS, weighting="uncertainty"),
        result=folder / "result",
    )
    return history.to_dict()


def main() -> None:
    """`spread_training.py STRATEGY BACKBONE FOLDER [KILL_AT]`."""
    kind, backbone, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    kill_at = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    part, parts = 0, 1
    strategy: tf.distribute.Strategy = tf.distribute.get_strategy()
    if kind == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif kind == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        part = strategy.cluster_resolver.task_id
        parts = 2
    with strategy.scope():
        history = train(backbone, folder, part, parts, kill_at)
    (folder / f"history-{part}.json").write_text(json.dumps(history))


if __name__ == "__main__":
    main()
