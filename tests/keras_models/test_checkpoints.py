"""What a kill or a full disk does to checkpoints, whatever the moment."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from keras_models import training
from keras_models.disk_space import DiskFullError
from keras_models.workers import Workers

from ..file_calls import Ended, fill_before, kill_before
from ..small_disk import small_disk

QUALITIES = (0.5, 0.7, 0.6)
"""Of the epochs: the second is the best."""
STEPS = 2
N = 2000


def count(folder: Path, epochs: int = len(QUALITIES)) -> float:
    """What `fit` does with checkpoints, to weights that count the steps."""
    weights, state = tf.Variable(tf.zeros([N])), training._State()
    checkpoints = training._Checkpoints(folder, state, Workers(), weights=weights)
    checkpoints.restore_last()
    while state.epoch <= epochs:
        while state.step < STEPS:
            weights.assign_add(tf.ones([N]))
            state.step += 1
            checkpoints.save_last()
        record = training.Epoch(
            state.epoch, 0.0, {}, QUALITIES[state.epoch - 1], 1, 1.0, 1.0, {}, {}
        )
        state.begin_next_epoch(record, {})
        checkpoints.save_epoch()
    checkpoints.restore_best()
    checkpoints.write_result(folder / "result")
    return float(weights[0])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def undisturbed(epochs: int) -> set[str]:
    """Two steps and an epoch are three saves; the best is the second epoch."""
    kept = {f"last/ckpt-{3 * epochs}", "best/epoch_2", "result"}
    parts = {f"{name}.{part}" for name in kept for part in ("index", "data-00000-of-00001")}
    return parts | {"last/checkpoint"}


def check_counted(folder: Path, epochs: int) -> None:
    assert count(folder, epochs) == 2 * STEPS
    assert files(folder) == undisturbed(epochs)
    weights, number = tf.Variable(tf.zeros([N])), tf.Variable(0, dtype=tf.int64)
    saved = tf.train.Checkpoint(weights=weights, epochs=number)
    saved.read(str(folder / "result")).assert_consumed()
    assert weights.numpy().tolist() == [2 * STEPS] * N and int(number) == 2
    assert not list(folder.rglob("*_temp"))


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after the first epoch."""
    folder = tmp_path_factory.mktemp("checkpoints") / "one"
    count(folder, epochs=1)
    return folder


def at_every_moment(
    stopped: Callable[..., Ended],
    tmp_path: Path,
    epochs: int,
    begun: Path | None = None,
    stride: int = 1,
) -> list[str]:
    """Stops at each moment and goes on; gives what was said each time."""
    said = []
    for moment in itertools.count(1, stride):
        folder = tmp_path / str(moment)
        if begun is not None:
            shutil.copytree(begun, folder)
        ended = stopped(moment, count, folder, epochs)
        check_counted(folder, epochs)
        if not ended.killed and not ended.error:
            # The last calls remove what is left of a save, which takes no room.
            assert moment - stride <= ended.calls < moment + (stopped is fill_before) * 5
            return said
        said.append(ended.error)
        shutil.rmtree(folder)
    raise AssertionError


def test_killed_in_an_epoch_it_goes_on(one_epoch: Path, tmp_path: Path) -> None:
    """At each fourth moment; the last checkpoint, the best and the result are written in it."""
    assert len(at_every_moment(kill_before, tmp_path, 2, one_epoch, stride=4)) > 15


def test_checkpoints_go_as_a_whole(one_epoch: Path, tmp_path: Path) -> None:
    """Where a part of them stayed, the next training would go on from what is not there."""
    for moment in itertools.count(1):
        folder = tmp_path / "training"
        shutil.copytree(one_epoch, folder)
        ended = kill_before(moment, training.discard_checkpoints, folder)
        assert not ended.error
        assert not folder.exists() or files(folder) == files(one_epoch)
        training.discard_checkpoints(folder)
        assert not list(tmp_path.iterdir())
        if not ended.killed:
            break
    assert moment > 5


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [kill_before, fill_before])
def test_stopped_at_any_moment_it_goes_on(stopped: Callable[..., Ended], tmp_path: Path) -> None:
    said = at_every_moment(stopped, tmp_path, 3)
    assert len(said) > 150
    for text in said if stopped is fill_before else ():
        assert text.splitlines()[-1].startswith("keras_models.disk_space.DiskFullError: /")


def test_a_disk_that_fills(one_epoch: Path, tmp_path: Path) -> None:
    """Of 20 sizes; a checkpoint takes two pages and its index one, up to three are kept."""
    full = 0
    for pages in range(12, 32):
        folder = tmp_path / str(pages)
        with small_disk(folder, pages * 4096) as resize:
            shutil.copytree(one_epoch, folder, dirs_exist_ok=True)
            try:
                count(folder, epochs=2)
            except DiskFullError as error:
                full += 1
                said = str(error)
                assert f"free on the disk at {folder})" in said and said.startswith(str(folder))
                assert "room for a checkpoint" in said or "room for the trained weights" in said
                # What is there is whole: what was saved before, and no part of what was not.
                found = {os.path.splitext(name)[0] for name in files(folder)}
                assert found <= {f"last/ckpt-{n}" for n in (3, 4, 5, 6)} | {
                    *("last/checkpoint", "best/epoch_1", "best/epoch_2", "result"),
                }
                assert len(files(folder)) in (5, 7) and not list(folder.rglob("*_temp"))
            resize(1 << 20)
            check_counted(folder, epochs=2)
    assert 3 < full < 20
