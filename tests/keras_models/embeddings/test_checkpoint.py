"""Checkpoints between processes, and saves that a kill interrupts.

Run as a script, this file is the other process: `go-on` restores and trains one step, `save-on`
saves until it is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_models
from keras_models.embeddings import (
    DecayedCount,
    DynamicEmbedding,
    DynamicEmbeddingConfig,
    Embedded,
    ExpireAfter,
    FieldQuotas,
    LazyAdam,
    MinCount,
    Policy,
)

F, STEPS = 3, 20
SMALL, LARGE = 64, 1 << 16
"""Capacities; LARGE makes a checkpoint of 50 MB."""


def _embedding(capacity: int = SMALL, dim: int = 4) -> DynamicEmbedding:
    policy = Policy(
        admission=MinCount(2),
        score=DecayedCount(half_life=6.0, weights={"a": 2.0, "c": math.inf}),
        expiry=ExpireAfter(2),
        quotas=FieldQuotas({"a": 0.3}),
    )
    return DynamicEmbedding(
        DynamicEmbeddingConfig(
            fields=("a", "b", "c"),
            dim=dim,
            dims={"c": 2},
            capacities={dim: capacity, 2: SMALL},
            policy=policy,
            optimizer=LazyAdam(learning_rate=0.01),
        )
    )


def _train_step(embedding: DynamicEmbedding, step: int) -> None:
    """Keys that come and go; few of field c, which is pinned."""
    rng = np.random.default_rng(step)
    keys = np.stack(
        [
            rng.zipf(1.3, 30) % 200 + step,
            1000 + rng.integers(step, step + 60, 30),
            2000 + rng.integers(0, 9, 30),
        ],
        axis=1,
    )
    weight, day = rng.integers(1, 4, 30) / 2, step // 3 - rng.integers(0, 2, 30)
    embedded, lookup = embedding.train_lookup(
        tf.constant(keys), tf.constant(weight, tf.float32), tf.constant(day)
    )
    embedding.apply_gradients(lookup, Embedded(tf.cos(9 * embedded.fields)))


def _state(embedding: DynamicEmbedding) -> dict[str, np.ndarray]:
    return {
        f"{number}/{variable.name}": variable.numpy()
        for number, variable in enumerate(embedding.variables)
    }


def _assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def _start(*arguments: object) -> subprocess.Popen[str]:
    root = Path(keras_models.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_another_process_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Every variable, and each after one more step, is equal to the bit."""
    embedding = _embedding()
    for step in range(STEPS):
        _train_step(embedding, step)
    counts = embedding.statistics()
    assert min(counts["evictions"], counts["expirations"], counts["live_rows"]) > 0
    tf.train.Checkpoint(embedding=embedding).write(str(tmp_path / "saved"))
    saved = _state(embedding)
    _train_step(embedding, STEPS)
    undisturbed = _state(embedding)
    changed = [name for name, value in saved.items() if (value != undisturbed[name]).any()]
    for part in ("records", "row_state", "sketch", "keys"):
        assert any(part in name for name in changed), part

    other = _start("go-on", tmp_path)
    _, errors = other.communicate()
    assert other.returncode == 0, errors
    with np.load(tmp_path / "restored.npz") as restored:
        _assert_equal(saved, dict(restored))
    with np.load(tmp_path / "next.npz") as after:
        _assert_equal(undisturbed, dict(after))


def _go_on(folder: Path) -> None:
    embedding = _embedding()
    tf.train.Checkpoint(embedding=embedding).read(str(folder / "saved")).assert_consumed()
    np.savez(folder / "restored.npz", **_state(embedding))
    _train_step(embedding, STEPS)
    np.savez(folder / "next.npz", **_state(embedding))


def test_a_kill_in_the_middle_of_a_save_leaves_the_one_before(tmp_path: Path) -> None:
    """Whenever the kill comes, what counts as the latest checkpoint is whole and as it was saved.

    The other process saves again and again. As soon as a file of a save after the first is seen, it
    is stopped and looked at: if that save has ended in the meantime, it goes on; if not, it is
    killed as it stands. So what is asserted is always of a save that had begun and had not ended:
    a part of its data is there; its index, which is written last, is not.
    """
    other = _start("save-on", tmp_path)
    number = _kill_in_a_save(other, tmp_path)
    assert _in_a_save(tmp_path) and number >= 2
    latest = tf.train.latest_checkpoint(str(tmp_path))
    assert latest == str(tmp_path / f"ckpt-{number - 1}")
    assert max(file.stat().st_size for file in tmp_path.glob(f"ckpt-{number - 1}.*")) > 4e7
    embedding = _large()
    tf.train.Checkpoint(embedding=embedding).restore(latest).assert_existing_objects_matched()
    assert _digest(embedding) == (tmp_path / f"digest-{number - 1}").read_text()


def _kill_in_a_save(other: subprocess.Popen[str], folder: Path) -> int:
    """Kills the other process in a save, and gives the number of that save."""
    try:
        while True:
            if not _in_a_save(folder):
                assert other.poll() is None, other.communicate()[1]
                time.sleep(0.001)
                continue
            os.kill(other.pid, signal.SIGSTOP)
            _, status = os.waitpid(other.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), status
            if _in_a_save(folder):
                return _last_save(folder)[0]
            os.kill(other.pid, signal.SIGCONT)
    finally:
        other.kill()
        other.communicate()


def _in_a_save(folder: Path) -> bool:
    """Whether a save after the first has written a part, and no index yet."""
    number, size = _last_save(folder)
    return number >= 2 and size > 1e6 and not (folder / f"ckpt-{number}.index").exists()


def _last_save(folder: Path) -> tuple[int, int]:
    """Number of the last save that has begun, and the bytes that it has written."""
    sizes = {0: 0}
    for at, _, names in os.walk(folder):
        for file in (Path(at, name) for name in names):
            match = re.match(r"ckpt-(\d+)[._]", str(file.relative_to(folder)))
            if match:
                with contextlib.suppress(FileNotFoundError):  # It may be moved at any time.
                    number = int(match[1])
                    sizes[number] = sizes.get(number, 0) + file.stat().st_size
    return max(sizes.items())


def _large() -> DynamicEmbedding:
    return _embedding(LARGE, dim=64)


def _digest(embedding: DynamicEmbedding) -> str:
    digest = hashlib.sha256()
    for variable in embedding.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _save_on(folder: Path) -> None:
    embedding = _large()
    checkpoint = tf.train.Checkpoint(embedding=embedding)
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
    for step in range(100):
        _train_step(embedding, step)
        (folder / f"digest-{step + 1}").write_text(_digest(embedding))
        manager.save()


if __name__ == "__main__":
    {"go-on": _go_on, "save-on": _save_on}[sys.argv[1]](Path(sys.argv[2]))
