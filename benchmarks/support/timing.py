"""Times of steps that take turns, so that a slow moment of the machine strikes all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

Step = Callable[[tf.Tensor], tf.Tensor]
"""A training step on a batch of keys; gives the loss."""

ON_GPU = bool(tf.config.list_physical_devices("GPU"))
WARM_UP = 10
CLOCK = "wall time, GPU" if ON_GPU else "CPU time, one thread"


def use_one_thread() -> None:
    """To be called before TensorFlow computes anything."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def seconds(step: Step, keys: tf.Tensor) -> float:
    """How long a step takes, until its loss is there.

    CPU time of the process, which other work on the machine disturbs little; where there is a GPU,
    wall time.
    """
    clock = time.perf_counter if ON_GPU else time.process_time
    start = clock()
    step(keys).numpy()
    return clock() - start


def take_turns(sides: Mapping[str, tuple[Step, Sequence[np.ndarray]]]) -> dict[str, np.ndarray]:
    """Runs a step of each side, then the next of each, first the one, then the other in front.

    Args:
      sides: By name, a step and its batches, int64 [B, F] each; as many batches on every side.

    Returns:
      Seconds of each step by name; the first `WARM_UP` do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn, batches in enumerate(zip(*(batches for _, batches in sides.values()), strict=True)):
        keys = {name: tf.constant(batch) for name, batch in zip(sides, batches, strict=True)}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            times[name].append(seconds(sides[name][0], keys[name]))
    return {name: np.array(values[WARM_UP:]) for name, values in times.items()}
