"""A rival: torch-rechub 0.9, in an environment of its own.

    cd benchmarks && ../.venv-torch-rechub/bin/python -m support.torch_rechub_worker ple 2 100000

Run by `model_throughput.py`, which tells it when to work. Its model and its trainer are as they
come: embeddings are as dense for Adam as all else, and there is a batch norm in each layer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch  # type: ignore[import-not-found]
from torch_rechub.basic.features import SparseFeature  # type: ignore[import-not-found]
from torch_rechub.models.multi_task import MMOE, PLE  # type: ignore[import-not-found]
from torch_rechub.trainers import MTLTrainer  # type: ignore[import-not-found]

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
from support.workers import Turn, work


def make(model: str, tasks: int, ids: int) -> tuple[Turn, dict[str, Any]]:
    """The model, untrained, and its turns."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    names = [f"field_{number}" for number in range(FIELDS)]
    features = [SparseFeature(name, vocab_size=ids, embed_dim=DIM) for name in names]
    kinds = ["classification"] * tasks
    parts: dict[str, Any] = {
        "expert_params": {"dims": [EXPERT_UNITS]},
        "tower_params_list": [{"dims": [TOWER_UNITS]}] * tasks,
    }
    network = (
        PLE(features, kinds, LEVELS, EXPERTS_PER_TASK, SHARED_EXPERTS, **parts)
        if model == "ple"
        else MMOE(features, kinds, MMOE_EXPERTS, **parts)
    )
    trainer = MTLTrainer(network, kinds)
    impressions = Impressions(ids, tasks)

    def turn(steps: int) -> Callable[[], None]:
        batches = [
            (
                {name: torch.tensor(column) for name, column in zip(names, ids.T, strict=True)},
                torch.tensor(labels),
            )
            for ids, labels in impressions.take(steps)
        ]
        return lambda: trainer.train_one_epoch(batches)

    return turn, {"torch": torch.__version__}


def main() -> None:
    """Works until there are no more orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["ple", "mmoe"])
    parser.add_argument("tasks", type=int)
    parser.add_argument("ids", type=int)
    arguments = parser.parse_args()
    work(lambda: make(arguments.model, arguments.tasks, arguments.ids))


if __name__ == "__main__":
    main()
