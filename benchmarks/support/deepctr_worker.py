"""A rival: DeepCTR 0.9.4, in an environment of its own.

    cd benchmarks && ../.venv-deepctr/bin/python -m support.deepctr_worker ple 2 100000

Run by `model_throughput.py`, which tells it when to work. Its model is as it comes and trains as
Keras trains it, with Keras' Adam: embeddings are as dense for it as all else. The one thing that is
not as it comes is its L2 penalty on embeddings: without it, it is quicker.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from deepctr.feature_column import SparseFeat  # type: ignore[import-not-found]
from deepctr.models import MMOE, PLE  # type: ignore[import-not-found]

from support.impressions import (
    DIM,
    EXPERT_UNITS,
    EXPERTS_PER_TASK,
    FIELDS,
    LEVELS,
    MMOE_EXPERTS,
    SHARED_EXPERTS,
    TOWER_UNITS,
    Impressions,
)
from support.timing import use_one_thread
from support.workers import Turn, work


def make(model: str, tasks: int, ids: int, l2: float) -> tuple[Turn, dict[str, Any]]:
    """The model, untrained, and its turns."""
    use_one_thread()
    names = [f"field_{number}" for number in range(FIELDS)]
    columns = [SparseFeat(name, vocabulary_size=ids, embedding_dim=DIM) for name in names]
    parts: dict[str, Any] = {
        "expert_dnn_hidden_units": (EXPERT_UNITS,),
        "tower_dnn_hidden_units": (TOWER_UNITS,),
        "l2_reg_embedding": l2,
        "task_types": ("binary",) * tasks,
        "task_names": tuple(f"task_{number}" for number in range(tasks)),
    }
    network = (
        PLE(columns, SHARED_EXPERTS, EXPERTS_PER_TASK, LEVELS, **parts)
        if model == "ple"
        else MMOE(columns, MMOE_EXPERTS, **parts)
    )
    network.compile("adam", ["binary_crossentropy"] * tasks)
    impressions = Impressions(ids, tasks)

    def turn(steps: int) -> Callable[[], None]:
        batches = [
            (
                {name: column.copy() for name, column in zip(names, ids.T, strict=True)},
                [column.copy() for column in labels.T],
            )
            for ids, labels in impressions.take(steps)
        ]

        def run() -> None:
            for features, labels in batches:
                network.train_on_batch(features, labels)

        return run

    return turn, {"tensorflow": tf.__version__, "optimizer": str(network.optimizer)}


def main() -> None:
    """Works until there are no more orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["ple", "mmoe"])
    parser.add_argument("tasks", type=int)
    parser.add_argument("ids", type=int)
    parser.add_argument("--l2", type=float, default=0.0)
    arguments = parser.parse_args()
    work(lambda: make(arguments.model, arguments.tasks, arguments.ids, arguments.l2))


if __name__ == "__main__":
    main()
