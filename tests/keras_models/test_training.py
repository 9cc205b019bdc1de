"""Training, and what a kill does to it. Run as a script, it trains until it kills itself."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_models
from keras_models import training
from keras_models.backbones import Ple
from keras_models.calibration import Groups, fit_calibration
from keras_models.disk_space import DiskFullError
from keras_models.embeddings import DecayedCount, DynamicEmbedding, DynamicEmbeddingConfig, Policy
from keras_models.losses import TaskLosses
from keras_models.model import RankingModel
from keras_models.tasks import Task

# By their full names: this is a script, too.
from tests.file_calls import kill_before
from tests.small_disk import small_disk

F, K, EXAMPLES, BATCH = 3, 2, 300, 32
"""Nine full batches and one of 12."""
EPOCHS = 3
TASKS = (Task("click"), Task("like", 0.5))
EMBEDDING = DynamicEmbeddingConfig(
    fields=("a", "b", "c"), dim=4, capacity=64, policy=Policy(score=DecayedCount(500.0))
)

Moment = tuple[int, int]
"""An epoch, and a batch of it from 0."""


class Run(NamedTuple):
    model: RankingModel
    history: training.History
    folder: Path


def _model(
    dropout: float = 0.2,
    tasks: tuple[Task, ...] = TASKS,
    tower_units: int = 8,
    calibration: Groups | None = None,
) -> RankingModel:
    keras.utils.set_random_seed(7)
    return RankingModel(
        tasks=tasks,
        num_numbers=2,
        num_scenarios=2,
        backbone=Ple(K, expert_units=[16]),
        tower_units=[tower_units],
        dropout=dropout,
        embedding=DynamicEmbedding(EMBEDDING),
        calibration=calibration,
    )


def _examples(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Keys with effects; more of them than the table holds."""
    rng = np.random.default_rng(seed)
    keys = np.minimum(rng.zipf(1.4, (EXAMPLES, F)), 100) + np.arange(F) * 1000
    features = {
        "keys": keys.astype(np.int64),
        "numbers": rng.normal(size=(EXAMPLES, 2)).astype(np.float32),
        "scenario": rng.integers(0, 2, EXAMPLES),
        "day": np.arange(EXAMPLES) // 100,
    }
    effect = np.where(keys % 2 == 0, 1.0, -1.0)
    scores = np.stack([effect[:, 0] + features["numbers"][:, 0], effect[:, 1] - effect[:, 2]], 1)
    labels = scores + rng.logistic(size=scores.shape) * 0.3 > 0
    return features, labels.astype(np.float32)


def _dataset(
    seed: int, before_batch: Callable[[int], None] = lambda batch: None
) -> tf.data.Dataset:
    features, labels = _examples(seed)

    def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for batch, start in enumerate(range(0, EXAMPLES, BATCH)):
            before_batch(batch)
            rows = slice(start, start + BATCH)
            yield {name: value[rows] for name, value in features.items()}, labels[rows]

    signature = (
        {
            "keys": tf.TensorSpec([None, F], tf.int64),
            "numbers": tf.TensorSpec([None, 2]),
            "scenario": tf.TensorSpec([None], tf.int64),
            "day": tf.TensorSpec([None], tf.int64),
        },
        tf.TensorSpec([None, K]),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def _fit(model: RankingModel, folder: Path, **changes: object) -> training.History:
    config = {
        "train": _dataset,
        "valid": _dataset(99),
        "epochs": EPOCHS,
        "patience": EPOCHS,
        "learning_rate": 0.01,
        "checkpoint_dir": folder / "checkpoints",
        "log_dir": folder / "logs",
        "checkpoint_every_steps": 4,
        "seed": 5,
        "xla": False,
    }
    return training.fit(model, **{**config, **changes})


def _disturbed(when: Moment, disturb: Callable[[], None]) -> Callable[[int], tf.data.Dataset]:
    def train(epoch: int) -> tf.data.Dataset:
        def before_batch(batch: int) -> None:
            if (epoch, batch) == when:
                disturb()

        return _dataset(epoch, before_batch)

    return train


def _assert_same(
    model: RankingModel,
    history: training.History,
    undisturbed: Run,
) -> None:
    for mine, theirs in zip(model.variables, undisturbed.model.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=mine.name)
    assert history.best_epoch == undisturbed.history.best_epoch
    for mine, theirs in zip(history.epochs, undisturbed.history.epochs, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, abs=1e-6)
        assert mine.valid_quality == pytest.approx(theirs.valid_quality, abs=1e-6)
        assert (mine.examples, mine.table) == (theirs.examples, theirs.table)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    model, folder = _model(), tmp_path_factory.mktemp("undisturbed")
    return Run(model, _fit(model, folder), folder)


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path, undisturbed: Run) -> None:
    root = Path(keras_models.__file__).parents[1]
    killed = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    model = _model()
    _assert_same(model, _fit(model, tmp_path), undisturbed)


class _Stopped(Exception):
    pass


def _stop() -> None:
    raise _Stopped


@pytest.mark.parametrize("when", [(1, 2), (2, 0), (3, 9)])
def test_goes_on_wherever_it_stopped(tmp_path: Path, undisturbed: Run, when: Moment) -> None:
    with pytest.raises(tf.errors.OpError, match="_Stopped"):
        _fit(_model(), tmp_path, train=_disturbed(when, _stop))
    model = _model()
    _assert_same(model, _fit(model, tmp_path), undisturbed)


def test_goes_on_from_the_last_whole_checkpoint(tmp_path: Path, undisturbed: Run) -> None:
    """As a kill in the middle of a save leaves it: data without an index, not yet named."""
    with pytest.raises(tf.errors.OpError, match="_Stopped"):
        _fit(_model(), tmp_path, train=_disturbed((2, 6), _stop))
    folder = tmp_path / "checkpoints" / "last"
    (data,) = folder.glob("*.data-00000-of-00001")
    number = int(data.name.split(".")[0].removeprefix("ckpt-"))
    half = data.read_bytes()[: data.stat().st_size // 2]
    (folder / data.name.replace(f"-{number}.", f"-{number + 1}.")).write_bytes(half)
    (folder / f"ckpt-{number + 2}_temp").mkdir()
    (folder / f"ckpt-{number + 2}_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(
        half
    )
    best = tmp_path / "checkpoints" / "best"
    (best / "epoch_2.data-00000-of-00001").write_bytes(half)
    for epoch in (1, 2):
        (best / f"epoch_{epoch}_temp").mkdir()
        (best / f"epoch_{epoch}_temp" / "part-00000-of-00001.index").write_bytes(half)
    model = _model()
    _assert_same(model, _fit(model, tmp_path), undisturbed)
    assert not list(best.glob("*_temp"))


@pytest.mark.parametrize(("share", "what"), [(0, "TensorBoard's curves"), (0.5, "a checkpoint")])
def test_goes_on_from_a_full_disk(
    tmp_path: Path, undisturbed: Run, share: float, what: str
) -> None:
    """Of no room, and of half of what is there in the end."""
    sizes = [path.stat().st_size for path in undisturbed.folder.rglob("*") if path.is_file()]
    pages = int(share * sum(-(-size // 4096) for size in sizes))
    folder = tmp_path / "disk"
    with small_disk(folder, 4096 * (pages + 1)) as resize:
        (folder / "a page").write_bytes(b"1")
        with pytest.raises(DiskFullError, match=f"free on the disk at {folder}.; .* for {what}"):
            _fit(_model(), folder)
        resize(1 << 24)
        model = _model()
        _assert_same(model, _fit(model, folder), undisturbed)


def _fit_small(folder: Path) -> None:
    _fit(_model(), folder, epochs=2, result=folder / "result")


@pytest.mark.slow
def test_killed_at_moments_all_over(tmp_path: Path) -> None:
    """At each eleventh; what a whole training does, and not only its checkpoints."""
    _fit_small(tmp_path / "0")

    def read(folder: Path) -> dict[str, np.ndarray]:
        reader = tf.train.load_checkpoint(str(folder / "result"))
        names = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name) for name in names if "VARIABLE_VALUE" in name}

    expected = read(tmp_path / "0")
    for moment in itertools.count(1, 11):
        folder = tmp_path / str(moment)
        ended = kill_before(moment, _fit_small, folder)
        assert not ended.error
        if not ended.killed:
            break
        _fit_small(folder)
        found = read(folder)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    assert moment > 100


def test_a_finished_training_is_not_repeated(undisturbed: Run) -> None:
    def never(epoch: int) -> tf.data.Dataset:
        raise AssertionError(f"asked for epoch {epoch}")

    model = _model()
    history = _fit(model, undisturbed.folder, train=never)
    assert history == undisturbed.history
    _assert_same(model, history, undisturbed)


def test_a_day_after_the_other_is_two_epochs(tmp_path: Path) -> None:
    """In the weights, the table, both optimizers, dropout and the tasks' weights by epoch."""
    tasks = (Task("click", gamma=0.5), Task("like", 0.5))
    whole = _model(tasks=tasks)
    weights: list[list[np.ndarray]] = []

    def keep(_: training.Epoch) -> None:
        weights.append([variable.numpy() for variable in whole.variables])

    losses = TaskLosses(tasks)
    history = _fit(whole, tmp_path / "whole", epochs=2, on_epoch=keep, losses=losses)

    def day(model: RankingModel, number: int, **options: object) -> training.History:
        """A training on one day, from a folder of its own."""
        config = {"losses": TaskLosses(tasks), "epochs": 1, "train": lambda _: _dataset(number)}
        config["result"] = tmp_path / f"after_{number}"
        return _fit(model, tmp_path / str(number), **{**config, **options})

    day(_model(tasks=tasks), 1)
    start = tmp_path / "after_1"
    with pytest.raises(tf.errors.OpError, match="_Stopped"):
        stopped = _disturbed((2, 6), _stop)
        day(_model(tasks=tasks), 2, start=start, train=lambda _: stopped(2))
    model = _model(tasks=tasks)
    second = day(model, 2, start=start)
    for mine, theirs in zip(model.variables, weights[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=mine.name)
    assert second.epochs[0].loss == pytest.approx(history.epochs[1].loss, abs=1e-6)
    assert second.epochs[0].table == history.epochs[1].table


def test_without_valid_data_it_makes_all_passes_and_keeps_the_last(tmp_path: Path) -> None:
    """And a kill changes nothing, also in the step counts of the optimizer."""
    measured, fixed = _model(), _model()
    weights: list[list[np.ndarray]] = []

    def keep(_: training.Epoch) -> None:
        weights.append([variable.numpy() for variable in measured.variables])

    history = _fit(measured, tmp_path / "measured", on_epoch=keep)
    found = _fit(fixed, tmp_path / "fixed", valid=None, patience=1)
    assert found.best_epoch == len(found.epochs) == EPOCHS
    for mine, theirs in zip(fixed.variables, weights[-1], strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.name)
    assert [e.loss for e in found.epochs] == [e.loss for e in history.epochs]
    assert {e.mean_quality for e in found.epochs} == {None}
    assert [e.valid_quality for e in found.epochs] == [{}] * EPOCHS

    with pytest.raises(tf.errors.OpError, match="_Stopped"):
        stopped = _disturbed((3, 6), _stop)
        _fit(_model(), tmp_path / "stopped", valid=None, train=stopped)
    model = _model()
    _fit(model, tmp_path / "stopped", valid=None)
    for mine, theirs in zip(model.variables, fixed.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=mine.name)


def test_it_starts_from_no_other_model(tmp_path: Path) -> None:
    _fit(_model(), tmp_path / "one", epochs=1, result=tmp_path / "one" / "result")
    other = _model(tower_units=16)
    with pytest.raises(ValueError, match="start.*one/result"):
        _fit(other, tmp_path / "other", start=tmp_path / "one" / "result")
    with pytest.raises(ValueError, match="start.*nowhere"):
        _fit(_model(), tmp_path / "other", start=tmp_path / "nowhere")


def test_learns_and_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    epochs: list[training.Epoch] = []
    model = _model(dropout=0.0)
    with caplog.at_level(logging.INFO, "equipoise.progress"):
        history = _fit(model, tmp_path, epochs=8, patience=8, on_epoch=epochs.append)
    assert history.epochs == epochs and [e.epoch for e in epochs] == list(range(1, 9))
    best = max(e.mean_quality for e in epochs)
    assert history.epochs[history.best_epoch - 1].mean_quality == best > 0.85
    assert epochs[-1].loss < 0.8 * epochs[0].loss
    assert {e.examples for e in epochs} == {EXAMPLES}
    assert json.loads(json.dumps(history.to_dict()))["best_epoch"] == history.best_epoch
    lines = [r.getMessage() for r in caplog.records if r.name == "equipoise.progress"]
    assert len(lines) == 8
    assert lines[0].startswith(f"epoch 1/8  loss {epochs[0].loss:.4f}  valid click 0.")


def test_the_table_is_counted_by_epoch(
    undisturbed: Run,
) -> None:
    model, history, _ = undisturbed
    live = np.cumsum([e.table["admissions"] - e.table["evictions"] for e in history.epochs])
    assert [e.table["live_rows"] for e in history.epochs] == live.tolist()
    assert live[-1] <= model.embedding.tables[0].capacity
    assert all(0 < e.table["hit_rate"] < 1 for e in history.epochs)


def test_keeps_the_best_epoch_and_stops_when_patience_ends(tmp_path: Path) -> None:
    """From epoch 3 on labels are reversed, so the valid AUC falls."""

    def train(epoch: int) -> tf.data.Dataset:
        data = _dataset(epoch)
        return data if epoch < 3 else data.map(lambda features, labels: (features, 1 - labels))

    model = _model(dropout=0.0)
    weights: dict[int, list[np.ndarray]] = {}

    def keep(epoch: training.Epoch) -> None:
        weights[epoch.epoch] = [variable.numpy() for variable in model.variables]

    config = {"train": train, "epochs": 9, "patience": 2, "learning_rate": 0.03}
    history = _fit(model, tmp_path, **config, on_epoch=keep)
    assert (history.best_epoch, len(history.epochs)) == (2, 4)
    for variable, value in zip(model.variables, weights[2], strict=True):
        np.testing.assert_array_equal(variable, value)
    best = {file.stem for file in (tmp_path / "checkpoints" / "best").iterdir()}
    assert best == {"epoch_2"}


def test_writes_scalars_for_tensorboard(undisturbed: Run) -> None:
    events = sorted(map(str, (undisturbed.folder / "logs").glob("events.*")))
    scalars: dict[str, dict[int, float]] = {}
    for record in tf.data.TFRecordDataset(events):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    names = ["train/loss", "train/examples_per_second", "valid/mean_quality"]
    names += ["valid/quality/click", "valid/quality/like"]
    counts = ("live_rows", "load", "admissions", "evictions", "expirations", "hit_rate")
    names += [f"table/{name}" for name in counts]
    names += [f"table/hit_rate/{field}" for field in EMBEDDING.fields]
    assert sorted(scalars) == sorted(names)
    for epoch in undisturbed.history.epochs:
        assert scalars["train/loss"][epoch.epoch] == pytest.approx(epoch.loss)
        like = epoch.valid_quality["like"]
        assert scalars["valid/quality/like"][epoch.epoch] == pytest.approx(like)


def _step_of(model: RankingModel, state: training._State, xla: bool) -> training._Step:
    optimizer = keras.optimizers.Adam(0.01)
    losses = TaskLosses(model.tasks)
    return training._Step(model, losses, optimizer, state, seed=1, xla=xla, on_gpu=True)


def test_xla_trains_the_same_and_compiles_once() -> None:
    models = {xla: _model(dropout=0.0) for xla in (True, False)}
    steps = {xla: _step_of(model, training._State(), xla) for xla, model in models.items()}
    for features, labels in _dataset(1):
        for step in steps.values():
            step(features, labels)
    for compiled, plain in zip(models[True].variables, models[False].variables, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-3, err_msg=plain.name)
    # The ragged batch at the end of an epoch runs uncompiled; without XLA all are one trace.
    assert steps[True]._full.experimental_get_tracing_count() == 1
    assert steps[True]._plain.experimental_get_tracing_count() == 1
    assert steps[False]._plain.experimental_get_tracing_count() == 1


def test_going_on_at_a_ragged_batch_does_not_take_its_size_for_the_full_one() -> None:
    step = _step_of(_model(), training._State(batch_size=BATCH), xla=True)
    *_, (features, labels) = _dataset(1)
    assert len(labels) < BATCH
    step(features, labels)
    assert step._full.experimental_get_tracing_count() == 0


def test_a_rows_step_does_not_depend_on_the_batch_size() -> None:
    """Other examples in the batch change neither the gradient nor the step of a key's row."""
    features, labels = _examples(1)
    features["keys"][:2] = [[-1, -2, -3], [-1, -2, -3]]
    moved = []
    for size in (2, 200):
        model = _model(dropout=0.0)
        table = model.embedding.tables[0]
        batch = {name: tf.constant(value[:size]) for name, value in features.items()}
        table.train_lookup(batch["keys"])
        before = table.lookup(batch["keys"][:1]).numpy()
        _step_of(model, training._State(), xla=False)(batch, tf.constant(labels[:size]))
        moved.append(table.lookup(batch["keys"][:1]).numpy() - before)
    assert np.abs(moved[0]).max() > 1e-3
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-3, atol=1e-7)


def test_engagement_raises_the_scores_of_an_examples_keys() -> None:
    features, labels = _examples(1)
    labels[:, 0] = np.arange(EXAMPLES) % 2
    batch = {name: tf.constant(value[:2]) for name, value in features.items()}
    batch["keys"] = tf.constant([[1, 1, 1], [2, 2, 2]], tf.int64)
    model = _model(tasks=(Task("click", engagement=3.0), Task("like")))
    _step_of(model, training._State(), xla=False)(batch, tf.constant(labels[:2]))
    (table,) = model.embedding.tables
    scores = tf.gather(table.row_state, table.find(tf.constant([1, 2], tf.int64)))[:, 0]
    np.testing.assert_allclose(scores[1] / scores[0], 4.0, rtol=1e-6)


def test_clip_norm_bounds_the_dense_step(tmp_path: Path) -> None:
    """A gradient shorter than Adam's epsilon moves weights by less than the learning rate."""
    moved = []
    for clip_norm in (None, 1e-9):
        model = _model()
        before = [weight.numpy() for weight in model.trainable_weights]
        _fit(model, tmp_path / str(clip_norm), epochs=1, clip_norm=clip_norm)
        after = [weight.numpy() for weight in model.trainable_weights]
        moved.append(max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)))
    assert moved[1] < 0.05 * moved[0]


def _of_one_class(features: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple:
    return features, tf.zeros_like(labels)


def _not_finite(features: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple:
    return {**features, "numbers": features["numbers"] * np.inf}, labels


def test_a_task_of_one_class_has_no_auc(tmp_path: Path) -> None:
    valid = _dataset(99).map(
        lambda features, labels: (features, labels * tf.constant([[1.0, 0.0]]))
    )
    (epoch,) = _fit(_model(), tmp_path, valid=valid, epochs=1).epochs
    assert epoch.valid_quality["like"] is None
    assert epoch.mean_quality == epoch.valid_quality["click"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": lambda epoch: _dataset(epoch).take(0)}, "data of epoch 1 should hold examples"),
        ({"valid": _dataset(99).take(0)}, "the valid data should hold examples. Received: none"),
        ({"valid": _dataset(99).map(_of_one_class)}, "one class only in each of click, like"),
        ({"train": lambda epoch: _dataset(epoch).take(1).map(_not_finite)}, "should be finite"),
    ],
)
def test_data_that_cannot_be_trained_on(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(_model(), tmp_path, **changes)


if __name__ == "__main__":
    kill = _disturbed((2, 6), lambda: os.kill(os.getpid(), signal.SIGKILL))
    _fit(_model(), Path(sys.argv[1]), train=kill)


def test_the_rate_falls_at_the_end_of_each_pass(tmp_path: Path) -> None:
    shares = [training._share_of_rate(step, 10, 0.4) for step in range(12)]
    assert shares == pytest.approx([1] * 6 + [1, 0.75, 0.5, 0.25, 0.25, 0.25])
    assert training._share_of_rate(0, 1, 0.3) == 1
    _fit(_model(), tmp_path, steps=10, cooldown=0.4, result=tmp_path / "result")
    reader = tf.train.load_checkpoint(str(tmp_path / "result"))
    (name,) = (n for n in reader.get_variable_to_shape_map() if "_learning_rate/.ATTR" in n)
    assert reader.get_tensor(name) == pytest.approx(0.01 * 0.25)


def test_predictions_settle_on_what_there_is(tmp_path: Path) -> None:
    raw, settled = _model(), _model()
    _fit(raw, tmp_path / "raw")
    _fit(settled, tmp_path / "settled", settle=_dataset(1), result=tmp_path / "result")
    features, labels = _examples(1)
    inputs = {name: features[name] for name in raw.feature_spec}
    found = [1 / (1 + np.exp(-model(inputs).numpy())) for model in (raw, settled)]
    offsets = _offsets(settled)
    gap = labels.sum(0) - found[1].sum(0)
    assert gap == pytest.approx(offsets / 0.1**2, rel=1e-2, abs=1e-2)
    assert np.all(np.abs(gap) < np.abs(labels.sum(0) - found[0].sum(0)))
    # What goes on from it goes on from the settled one.
    other = _model()
    _fit(other, tmp_path / "next", valid=None, epochs=1, start=tmp_path / "result")
    assert _offsets(other) == pytest.approx(offsets)


def test_calibration_is_fitted_to_what_was_not_learnt_and_trains_nothing(tmp_path: Path) -> None:
    plain, calibrated = _model(), _model(calibration="task_and_scenario")
    _fit(plain, tmp_path / "plain", settle=_dataset(1))
    _fit(
        calibrated,
        tmp_path / "calibrated",
        settle=_dataset(1),
        calibrate=_dataset(98),
        result=tmp_path / "result",
    )
    features, labels = _examples(98)
    inputs = {name: features[name] for name in plain.feature_spec}
    logits = calibrated.network_logits(inputs).numpy()
    np.testing.assert_array_equal(logits, plain(inputs).numpy())
    slopes, shifts = fit_calibration(
        TASKS,
        logits,
        labels,
        features["scenario"],
        num_scenarios=2,
        groups="task_and_scenario",
    )
    assert np.abs(slopes - 1).max() > 0.05, "on so few rows each training is too sure"
    expected = slopes[features["scenario"]] * logits + shifts[features["scenario"]]
    np.testing.assert_allclose(calibrated(inputs), expected, rtol=1e-5, atol=1e-5)
    served = calibrated.for_serving()({name: tf.constant(v) for name, v in inputs.items()})
    by_task = np.stack([served[task.name] for task in TASKS], axis=1)
    np.testing.assert_allclose(by_task, 1 / (1 + np.exp(-expected)), rtol=1e-4, atol=1e-6)
    # In the halves of a ranking request, too, whose scenario is one for all candidates.
    serving = calibrated.for_serving(item_fields=EMBEDDING.fields[-1:])
    rows = {name: tf.constant(np.repeat(value[3:4], 4, axis=0)) for name, value in inputs.items()}
    rows["keys"] = tf.concat([rows["keys"][:, :-1], inputs["keys"][:4, -1:]], axis=1)
    user = serving.user_embedding({name: value[:1] for name, value in rows.items()})
    halves, whole = serving.score_items(user, rows), serving(rows)
    for task in TASKS:
        np.testing.assert_allclose(halves[task.name], whole[task.name], rtol=1e-4, atol=1e-6)
    # A day that goes on from it keeps the calibration, and trains as one that has none.
    next_plain, next_day = _model(), _model(calibration="task_and_scenario")
    _fit(next_day, tmp_path / "next", valid=None, epochs=1, start=tmp_path / "result")
    assert next_day.calibration is not None
    for weight, kept in zip(next_day.calibration.weights, (slopes, shifts), strict=True):
        np.testing.assert_allclose(weight, kept, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="what a training of this model ended with"):
        _fit(next_plain, tmp_path / "other", start=tmp_path / "result")


def _offsets(model: RankingModel) -> np.ndarray:
    (found,) = (w for w in model.network.non_trainable_weights if "offsets" in w.name)
    return found.numpy()
