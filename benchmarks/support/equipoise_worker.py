"""This project's side of `model_throughput.py`.

    cd benchmarks && python -m support.equipoise_worker ple 2 100000

The step is the one that `fit` takes with a config's defaults: nearly all ids have rows in the
dynamic embedding, and its policy is on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from support.impressions import Impressions
from support.ranking_models import example, fill, keys_of_ids, ranking_model, training_step
from support.timing import use_one_thread
from support.workers import Turn, work


def make(model: str, tasks: int, ids: int) -> tuple[Turn, dict[str, Any]]:
    """The model, untrained but for its rows, and its turns."""
    use_one_thread()
    network = ranking_model(model, tasks=tasks, ids=ids)
    keys = keys_of_ids(ids)
    fill(network.embedding, keys)
    step = training_step(network, xla=True)
    impressions = Impressions(ids, tasks)

    def turn(steps: int) -> Callable[[], None]:
        batches = [example(*batch, keys) for batch in impressions.take(steps)]

        def run() -> None:
            for features, labels in batches:
                step(features, labels)

        return run

    return turn, {"live_rows": network.embedding.statistics()["live_rows"]}


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
