"""PLE, HiNet and PEPNet learn on a GPU what they learn on the CPU; and how quick their steps are.

    uv pip install -r requirements/gpu.txt    # into .venv, on a machine with a GPU
    python benchmarks/gpu_step.py

Each model trains from the same weights on the same batches, once in a process that sees no GPU and
once on the GPU, there without TF32, so that what differs is the order of sums. The claim is about
the largest difference between the two losses of a step. Labels depend on the ids, so that losses
fall, from 1.39 to 0.06: a gradient that is lost on the way to the GPU shows. Compiled and not, the
losses differ by up to 0.5% on one and the same CPU.

Then each is timed at full size (16 fields of 100,000 ids, 4,096 examples, 2 tasks, 32 scenarios, as
in `model_throughput.py`), TF32 on, and its step compared with a floor: the time that its
multiplications take at the rate of one large product, or its unavoidable bytes at the rate of one
large copy, whichever is more; both rates are measured there and then.

Without a GPU the CPU's part runs alone, for a few steps, and nothing is claimed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from support.impressions import BATCH, DIM, FIELDS, Impressions
from support.ranking_models import example, fill, keys_of_ids, ranking_model, training_step
from support.timing import ON_GPU

from keras_models.model import RankingModel

MODELS = ("ple", "hinet", "pepnet")
TASKS = 2
SCENARIOS = 32
TARGET = 0.02
FEW_IDS = 200
IDS = 100_000
WARM_UP = 5


def losses(name: str, steps: int) -> list[float]:
    """Of each step, from weights that do not depend on the device."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    model = ranking_model(name, tasks=TASKS, ids=FEW_IDS, scenarios=SCENARIOS)
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(size=weight.shape) * weight.numpy().std())
    keys = keys_of_ids(FEW_IDS)
    step = training_step(model, xla=True)
    found = []
    for ids, _ in Impressions(FEW_IDS, TASKS).take(steps):
        labels = ids[:, :TASKS] % 2
        before = step._state.loss_sum
        step(*example(ids, labels.astype(np.float32), keys, ids[:, -1] % SCENARIOS))
        found.append((step._state.loss_sum - before) / BATCH)
    return found


def speed(name: str, steps: int) -> dict[str, float]:
    """Milliseconds of a step, its floor, and what share of the step the floor is."""
    tf.config.experimental.enable_tensor_float_32_execution(True)
    model = ranking_model(name, tasks=TASKS, ids=IDS, scenarios=SCENARIOS)
    keys = keys_of_ids(IDS)
    fill(model.embedding, keys)
    step = training_step(model, xla=True)
    batches = [
        example(ids, labels, keys, ids[:, -1] % SCENARIOS)
        for ids, labels in Impressions(IDS, TASKS).take(WARM_UP + steps)
    ]
    taken = []
    for batch in batches:
        start = time.perf_counter()
        step(*batch)
        taken.append(time.perf_counter() - start)
    seconds = float(np.median(taken[WARM_UP:]))
    arithmetic = operations(model) / product_rate()
    traffic = unavoidable_bytes(model, batches[-1][0]["keys"]) / copy_rate()
    floor = max(arithmetic, traffic)
    return {
        "examples_per_second": round(BATCH / seconds),
        "milliseconds": round(1000 * seconds, 3),
        "arithmetic_milliseconds": round(1000 * arithmetic, 4),
        "bytes_milliseconds": round(1000 * traffic, 4),
        "share_of_floor": round(floor / seconds, 4),
    }


def operations(model: RankingModel) -> float:
    """Multiplications and additions of a step's products with weights, forward and backward."""
    weights = 0.0
    for weight in model.trainable_variables:
        if "kernel" in weight.name and "/san/" not in weight.name:
            # Of a scenario's own task layer an example meets one in SCENARIOS.
            own = "task_layer" in weight.name
            weights += int(tf.size(weight)) / (SCENARIOS if own else 1)
    return 6.0 * BATCH * weights


def unavoidable_bytes(model: RankingModel, keys: tf.Tensor) -> float:
    """What any step has to read and write: weights, Adam's and Adagrad's memory, rows, inputs.

    Adam reads a weight, its gradient and its two moments, and writes all but the gradient. A row
    and its accumulator are read and written. Embedded inputs and their gradients are written and
    read.
    """
    dense = 7 * 4 * sum(int(tf.size(weight)) for weight in model.trainable_variables)
    rows = 4 * 4 * DIM * len(np.unique(keys))
    inputs = 4 * 4 * DIM * FIELDS * BATCH
    return float(dense + rows + inputs + 8 * int(tf.size(keys)))


def product_rate() -> float:
    """Multiplications and additions a second, in a large product."""
    size = 8192 if ON_GPU else 2048
    matrix = tf.random.normal([size, size])
    return 2 * size**3 / _seconds(lambda: tf.matmul(matrix, matrix))


def copy_rate() -> float:
    """Bytes a second, read and written, in a large copy."""
    numbers = tf.random.normal([1 << (28 if ON_GPU else 24)])
    return 2 * 4 * int(tf.size(numbers)) / _seconds(lambda: numbers + 1)


def _seconds(compute: Callable[[], tf.Tensor], times: int = 5) -> float:
    """Of one computation; what it makes stays where it is, but for one number."""
    compute()[..., :1].numpy()
    start = time.perf_counter()
    for _ in range(times):
        result = compute()
    result[..., :1].numpy()
    return (time.perf_counter() - start) / times


def measure(steps: int, timed_steps: int) -> dict[str, Any]:
    """All models, on the device that is there."""
    gpus = tf.config.list_physical_devices("GPU")
    result: dict[str, Any] = {
        "device": tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        if gpus
        else "CPU"
    }
    for name in MODELS:
        result[name] = {"losses": losses(name, steps), "speed": speed(name, timed_steps)}
        print(f"{result['device']}: {name} {result[name]['speed']}", file=sys.stderr, flush=True)
    return result


def without_gpu(steps: int, timed_steps: int) -> dict[str, Any]:
    """The same in a process that sees no GPU."""
    command = [sys.executable, __file__, "--measure", f"--steps={steps}", f"--timed={timed_steps}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def find_cuda() -> None:
    """Starts over with the CUDA of requirements/gpu.txt on the loader's path, where it is.

    TensorFlow 2.16 does not look for it there.
    """
    found = importlib.util.find_spec("nvidia")
    if found is None or not found.submodule_search_locations or "CUDA_IS_FOUND" in os.environ:
        return
    root = Path(next(iter(found.submodule_search_locations)))
    libraries = [*map(str, sorted(root.glob("*/lib"))), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {
        **os.environ,
        "CUDA_IS_FOUND": "1",
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "PATH": f"{root / 'cuda_nvcc/bin'}:{os.environ['PATH']}",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_gpu_cuda_data_dir={root / 'cuda_nvcc'}",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def main() -> None:
    """Measures on both devices, compares, and ends with the claim as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60, help="whose losses are compared")
    parser.add_argument("--timed", type=int, default=50, help="steps that are timed, on the GPU")
    parser.add_argument("--measure", action="store_true", help="on this device, and no more")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.steps, arguments.timed)))
        return
    find_cuda()
    difference, details = None, {"cpu": without_gpu(arguments.steps, min(arguments.timed, 5))}
    if ON_GPU:
        details["gpu"] = measure(arguments.steps, arguments.timed)
        by_model = {
            name: float(
                np.max(
                    np.abs(
                        np.array(details["gpu"][name]["losses"]) / details["cpu"][name]["losses"]
                        - 1
                    )
                )
            )
            for name in MODELS
        }
        print("largest differences:", by_model)
        difference = max(by_model.values())
    else:
        print("There is no GPU here: the CPU's part alone ran.")
    print(
        json.dumps(
            {
                "name": "gpu_step",
                "value": difference,
                "unit": "largest relative difference between the losses of a step",
                "target": TARGET,
                "holds": None if difference is None else difference <= TARGET,
                "details": details,
            }
        )
    )


if __name__ == "__main__":
    main()
