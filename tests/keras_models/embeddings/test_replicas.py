"""Two replicas against one, on the same global batches.

Logical devices have to be set up before TensorFlow starts, so the replicas train in a process of
their own: this file, run as a script. It writes what the tests compare.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import keras_models
from keras_models.embeddings import (
    Adagrad,
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    ExpireAfter,
    ExportedEmbedding,
    FieldQuotas,
    MinCount,
    Policy,
)

F, T, STEPS = 3, 4, 24
WIDTH = 4 + 4 + 2
SIZES = [(16, 16), (17, 16), (3, 30), (1, 0), (0, 21), (13, 12)]
"""Examples of the two replicas: as `tf.distribute` splits a batch of odd size, and less evenly."""

POLICY = Policy(
    admission=MinCount(2),
    score=DecayedCount(half_life=6.0, weights={"a": 2.0, "c": math.inf}),
    expiry=ExpireAfter(2),
    quotas=FieldQuotas({"a": 0.2}),
)
CONFIG = DynamicEmbeddingConfig(
    fields=("a", "b", "c"),
    dim=4,
    dims={"c": 2},
    history_fields=("a", "c"),
    capacity=64,
    policy=POLICY,
    optimizer=Adagrad(l2=1e-3, clip_norm=5.0),
)

State = dict[str, np.ndarray]
"""Every variable of a layer."""


class Batch(NamedTuple):
    """A global batch; the first replica's examples are those before `cut`."""

    keys: tf.Tensor
    history: tf.Tensor
    weight: tf.Tensor
    day: tf.Tensor
    target: tf.Tensor
    cut: tf.Tensor


def _batch(step: int) -> Batch:
    """Keys that come and go; few of field c, which is pinned."""
    rng = np.random.default_rng(step)
    first, second = SIZES[step % len(SIZES)]
    size = first + second
    own = [rng.zipf(1.3, size) % 200 + step, 1000 + rng.integers(step, step + 60, size)]
    keys = np.stack([*own, 2000 + rng.integers(0, 9, size)], axis=1)
    history = np.stack([rng.zipf(1.3, (size, T)) % 200 + step, rng.integers(0, 9, (size, T))], 2)
    return Batch(
        tf.constant(keys),
        tf.constant(np.where(history[..., 1:] < 3, 0, history + [0, 2000])),
        tf.constant(rng.integers(1, 4, size) / 2, tf.float32),
        tf.constant(step // 4 - rng.integers(0, 2, size)),
        tf.constant(rng.normal(size=(size, WIDTH)), tf.float32),
        tf.constant(first),
    )


def _train_step(embedding: DynamicEmbedding, part: Batch) -> tf.Tensor:
    """The loss is of the embedded keys, so every step depends on those before."""
    embedded, lookup = embedding.train_lookup(part.keys, part.weight, part.day, part.history)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        loss = tf.reduce_sum(tf.square(embedded.fields - part.target) + tf.sin(9 * embedded.fields))
        loss += tf.reduce_sum(tf.cos(5 * embedded.history))
    embedding.apply_gradients(lookup, tape.gradient(loss, embedded))
    return loss


def _compiled(
    embedding: DynamicEmbedding, strategy: tf.distribute.Strategy | None
) -> Callable[[Batch], tf.Tensor]:
    def in_replica(batch: Batch) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        start = tf.where(replica == 0, 0, batch.cut)
        stop = tf.where(replica == 0, batch.cut, tf.shape(batch.keys)[0])
        return _train_step(embedding, Batch(*(part[start:stop] for part in batch[:-1]), batch.cut))

    def step(batch: Batch) -> tf.Tensor:
        if strategy is None:
            return _train_step(embedding, batch)
        losses = strategy.run(in_replica, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    *parts, cut = _batch(0)
    specs = [tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in parts]
    return tf.function(step, [Batch(*specs, tf.TensorSpec([], cut.dtype))], autograph=False)


class _Side:
    """One replica, or two of them."""

    def __init__(self, strategy: tf.distribute.Strategy | None):
        self.strategy = strategy
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            self.embedding = DynamicEmbedding(CONFIG)
        self.checkpoint = tf.train.Checkpoint(embedding=self.embedding)
        self.train = _compiled(self.embedding, strategy)

    def states(self) -> list[State]:
        """Each replica's copy of every variable."""
        states: list[State] = []
        for number, variable in enumerate(self.embedding.variables):
            copies = [variable]
            if self.strategy is not None:
                copies = self.strategy.experimental_local_results(variable)
            states = states or [{} for _ in copies]
            for state, copy in zip(states, copies, strict=True):
                state[f"{number}/{variable.name.split(':')[0]}"] = copy.numpy()
        return states


def _write(out: Path) -> None:
    found: dict[str, np.ndarray] = {}

    def note(moment: str) -> None:
        states = zip(("one", "first", "second"), [*one.states(), *two.states()], strict=True)
        for who, state in states:
            found.update({f"{moment}/{who}/{name}": value for name, value in state.items()})

    one, two = _Side(None), _Side(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))

    def train(step: int) -> None:
        found[f"losses/{step}"] = np.array([side.train(_batch(step)) for side in (one, two)])

    for step in range(STEPS):
        train(step)
    note("trained")
    keys = _batch(STEPS).keys
    history = _batch(STEPS).history
    exported = ExportedEmbedding(two.embedding)
    for who, embedding in (("one", one.embedding), ("two", two.embedding), ("exported", exported)):
        read = embedding(keys, history)
        found[f"reads/{who}"], found[f"behaviours/{who}"] = read.fields, read.history
    for count in (DynamicEmbedding.statistics, DynamicEmbedding.hits_by_field):
        counts = [count(side.embedding) for side in (one, two)]
        assert counts[0] == counts[1], counts

    paths = [side.checkpoint.write(str(out / f"{at}")) for at, side in enumerate((one, two))]
    train(STEPS)
    note("next")
    train(STEPS + 1)
    for side, path in ((one, paths[1]), (two, paths[0])):
        side.checkpoint.read(path).assert_consumed()
    note("restored")
    train(STEPS)
    note("restored_next")
    np.savez(out / "found.npz", **found)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("replicas")
    root = Path(keras_models.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, __file__, str(out)],
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(out / "found.npz") as arrays:
        return dict(arrays)


def _state(found: dict[str, np.ndarray], moment: str, who: str) -> State:
    prefix = f"{moment}/{who}/"
    return {name[len(prefix) :]: found[name] for name in found if name.startswith(prefix)}


def _last(state: State, name: str) -> list[np.ndarray]:
    """A variable of each table."""
    return [value for key, value in state.items() if key.endswith(f"/{name}")]


def _assert_equal(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def _assert_same_but_for_rounding(one: State, other: State) -> None:
    """Replicas add the parts of a gradient in another order; all else is equal to the bit."""
    for name in one:
        if not name.endswith("/records"):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for mine, theirs in zip(_last(one, "records"), _last(other, "records"), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_all_policies_act(found: dict[str, np.ndarray]) -> None:
    """Else the other tests would compare less than they seem to."""
    state = _state(found, "trained", "one")
    assert {"keys", "row_state", "sketch", "records"} <= {name.split("/")[-1] for name in state}
    for counter in ("evictions", "expirations", "score_origin"):
        assert sum(value.item() for value in _last(state, counter)) > 0, counter
    of_a, _ = _last(state, "rows_of_field")[0]
    assert of_a == int(0.2 * 64)
    assert np.isinf(_last(state, "row_state")[1]).sum() == 9
    losses = [found[f"losses/{step}"][0] for step in range(STEPS)]
    assert len(set(np.array(losses).tolist())) == STEPS


def test_two_replicas_train_as_one(found: dict[str, np.ndarray]) -> None:
    one, first = _state(found, "trained", "one"), _state(found, "trained", "first")
    _assert_same_but_for_rounding(one, first)
    for step in range(STEPS):
        np.testing.assert_allclose(*found[f"losses/{step}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("moment", ["trained", "next", "restored", "restored_next"])
def test_replicas_keep_equal_copies(found: dict[str, np.ndarray], moment: str) -> None:
    _assert_equal(_state(found, moment, "first"), _state(found, moment, "second"))


def test_reads_and_exports_outside_of_replicas(found: dict[str, np.ndarray]) -> None:
    for what in ("reads", "behaviours"):
        one, two, exported = (found[f"{what}/{who}"] for who in ("one", "two", "exported"))
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(exported, two)


def test_a_checkpoint_of_replicas_restores_without_them(found: dict[str, np.ndarray]) -> None:
    _assert_equal(_state(found, "restored", "one"), _state(found, "trained", "first"))
    _assert_same_but_for_rounding(
        _state(found, "restored_next", "one"), _state(found, "next", "first")
    )


def test_a_checkpoint_restores_into_replicas(found: dict[str, np.ndarray]) -> None:
    _assert_equal(_state(found, "restored", "first"), _state(found, "trained", "one"))
    _assert_same_but_for_rounding(
        _state(found, "restored_next", "first"), _state(found, "next", "one")
    )


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    _write(Path(sys.argv[1]))
