"""The rival: TensorFlow Recommenders-Addons 0.8.1, in an environment of its own.

    cd benchmarks && ../.venv-tfra/bin/python -m support.tfra_step --steps 200 --live 1800000

Run by `embedding_step.py`. It imports nothing of this project but its neighbours here. The last
line is JSON: milliseconds of a static step, of TFRA's, of TFRA's with its policy, and of evicting
a tenth.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import tensorflow as tf
import tensorflow_recommenders_addons.dynamic_embedding as de  # type: ignore[import-not-found]
import tf_keras as keras

from support.static_step import static_step, targets
from support.streams import SHAPE, ZipfStream, random_keys
from support.timing import WARM_UP, Step, seconds, take_turns, use_one_thread


def tfra_step(name: str, keys: np.ndarray, policy: bool) -> tuple[Step, Step]:
    """A step of TFRA's Keras layer and Adagrad, its tables filled, and one that evicts a tenth.

    The distinct keys are found, and their gradients summed, before TFRA sees them: the fastest of
    the ways that were tried.

    Args:
      name: Of the layer.
      keys: int64 [N], those that have rows.
      policy: Whether a `FrequencyRestrictPolicy` counts the keys.
    """
    target = targets()
    dim = target.shape[-1]
    layer = de.keras.layers.Embedding(
        dim,
        name=name,
        initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        init_capacity=2**21,
        with_unique=False,
        restrict_policy=de.FrequencyRestrictPolicy if policy else None,
    )
    optimizer = de.DynamicEmbeddingOptimizer(keras.optimizers.Adagrad(0.05, jit_compile=False))

    @tf.function(autograph=False)
    def step(keys: tf.Tensor) -> tf.Tensor:
        unique, position = tf.unique(tf.reshape(keys, [-1]))
        with tf.GradientTape() as tape:
            rows = layer(unique)
            embedded = tf.reshape(tf.gather(rows, position), target.shape)
            loss = tf.reduce_mean(tf.square(embedded - target))
        gradients = tape.gradient(loss, rows)
        gradients = tf.math.unsorted_segment_sum(
            gradients.values, gradients.indices, tf.size(unique)
        )
        optimizer.apply_gradients([(gradients, layer.trainable_variables[0])])
        if policy:
            layer.params.restrict_policy.apply_update(unique)
        return loss

    def restrict(_: tf.Tensor) -> tf.Tensor:
        layer.params.restrict(len(keys) * 9 // 10)
        return layer.params.size()

    step(tf.constant(keys[: SHAPE[0] * SHAPE[1]].reshape(SHAPE)))
    (accumulators,) = layer.params.get_slot_variables(optimizer)
    for chunk in np.array_split(keys, 30):
        layer.params.upsert(chunk, tf.random.uniform([len(chunk), dim], -0.05, 0.05))
        accumulators.upsert(chunk, tf.fill([len(chunk), dim], 0.1))
        if policy:
            layer.params.restrict_policy.apply_update(tf.constant(chunk))
    return step, restrict


def main() -> None:
    """Times the steps, then one restriction."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--live", type=int, required=True)
    arguments = parser.parse_args()
    use_one_thread()
    keys = random_keys(arguments.live, seed=1)
    plain, _ = tfra_step("plain", keys, policy=False)
    policy, restrict = tfra_step("policy", keys, policy=True)
    steps = {"static": static_step(21), "tfra": plain, "tfra_with_policy": policy}
    batches = ZipfStream(keys, 1.0, seed=2).take(WARM_UP + arguments.steps)
    sides = {name: (step, batches) for name, step in steps.items()}
    times = {name: float(np.median(values)) for name, values in take_turns(sides).items()}
    times["restrict"] = seconds(restrict, tf.constant(0))
    print(json.dumps({f"{name}_ms": round(1000 * value, 1) for name, value in times.items()}))


if __name__ == "__main__":
    main()
