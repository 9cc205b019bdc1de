"""How the cost of HiNet grows with the number of scenarios.

    cd benchmarks && python -m support.hinet_growth --steps 30

Run by `model_throughput.py`. The last line is JSON: CPU seconds of a step of the task layer alone
(forward and backward) and of the whole model, with few and with many scenarios, and their
multiplications.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from keras_models.layers.scenario_cgc import ScenarioCgc
from support.impressions import (
    BATCH,
    DIM,
    EXPERT_UNITS,
    EXPERTS_PER_TASK,
    FIELDS,
    SHARED_EXPERTS,
    TOWER_UNITS,
    Impressions,
)
from support.ranking_models import example, fill, keys_of_ids, ranking_model, training_step
from support.timing import use_one_thread

SCENARIOS = (4, 32)
SUB_EXPERTS = 2
TASKS = 2
IDS = 100_000
WARM_UP = 5


def multiplications(scenarios: int) -> int:
    """Of an example's way forward; backward they are twice as many."""
    experts = TASKS * EXPERTS_PER_TASK + SHARED_EXPERTS
    sub_experts = (1 + scenarios) * SUB_EXPERTS
    extractors = sub_experts * ((FIELDS * DIM + scenarios) * (EXPERT_UNITS + 1) + 3 * EXPERT_UNITS)
    gates = TASKS * (EXPERTS_PER_TASK + SHARED_EXPERTS)
    task_layer = 3 * EXPERT_UNITS * (experts * EXPERT_UNITS + gates)
    mixing = TASKS * experts * EXPERT_UNITS
    towers = TASKS * (EXPERT_UNITS + 1) * TOWER_UNITS
    return extractors + task_layer + mixing + towers


def task_layer_step(scenarios: int) -> Callable[[np.ndarray], None]:
    """Forward and backward through the task layer, for the examples' scenarios int64 [B]."""
    layer = ScenarioCgc(scenarios, TASKS, EXPERTS_PER_TASK, SHARED_EXPERTS, [EXPERT_UNITS])
    inputs = tf.random.stateless_normal([BATCH, 3 * EXPERT_UNITS], [1, 2])

    @tf.function(autograph=False)
    def step(scenario: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs, scenario)[0])
        return tape.gradient(loss, [inputs, *layer.trainable_variables])

    return lambda scenario: step(tf.constant(scenario))[0].numpy()


def whole_step(scenarios: int) -> Callable[[np.ndarray], None]:
    """A step of the whole model, embeddings and optimizers included."""
    model = ranking_model("hinet", tasks=TASKS, ids=IDS, scenarios=scenarios)
    keys = keys_of_ids(IDS)
    fill(model.embedding, keys)
    step = training_step(model, xla=True)
    impressions = Impressions(IDS, TASKS)
    return lambda scenario: step(*example(*impressions.take(1)[0], keys, scenario))


def measure(steps: Mapping[int, Callable[[np.ndarray], None]], number: int) -> dict[int, float]:
    """Median CPU seconds of steps that take turns, by number of scenarios, all equally large."""
    rng = np.random.default_rng(0)
    seconds: dict[int, list[float]] = {scenarios: [] for scenarios in steps}
    for turn in range(WARM_UP + number):
        for scenarios in list(steps)[:: 1 if turn % 2 else -1]:
            scenario = rng.integers(scenarios, size=BATCH)
            start = time.process_time()
            steps[scenarios](scenario)
            seconds[scenarios].append(time.process_time() - start)
    return {scenarios: float(np.median(taken[WARM_UP:])) for scenarios, taken in seconds.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    arguments = parser.parse_args()
    use_one_thread()
    parts = {"task_layer": task_layer_step, "whole_step": whole_step}
    print(
        json.dumps(
            {
                "multiplications": {m: multiplications(m) for m in SCENARIOS},
                **{
                    name: measure({m: make(m) for m in SCENARIOS}, arguments.steps)
                    for name, make in parts.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
