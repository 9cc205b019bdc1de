"""Fits a ranking model: datasets in, checkpoints and a history out."""

from __future__ import annotations

import functools
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models.calibration import fit_calibration
from keras_models.disk_space import room_for
from keras_models.embeddings import Embedded
from keras_models.losses import TaskLosses
from keras_models.model import Features, RankingModel
from keras_models.offsets import corrections
from keras_models.quality import qualities
from keras_models.replicas import (
    first_example,
    gather_batch,
    replica_number,
    share_of_replica,
    sum_over_replicas,
)
from keras_models.workers import Workers

_progress = logging.getLogger("equipoise.progress")


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data did.

    Args:
      epoch: Its number, from 1.
      loss: Mean training loss.
      valid_quality: On the valid data, by task: AUC, or what stands for it, see `qualities`; None
        where it is not defined. Empty without valid data.
      mean_quality: Mean of those that are defined; None without valid data.
      examples: Training examples.
      seconds: Time the training steps took.
      examples_per_second: Their ratio.
      table: Of the embedding tables: `live_rows` at the end and `load`, their share of the
        capacity; `admissions`, `evictions` and `expirations` in this epoch; `hit_rate`, the share
        of keys read in this epoch that had a row of their own.
      hit_rate_by_field: That share by field.
    """

    epoch: int
    loss: float
    valid_quality: dict[str, float | None]
    mean_quality: float | None
    examples: int
    seconds: float
    examples_per_second: float
    table: dict[str, float]
    hit_rate_by_field: dict[str, float]


@dataclass(frozen=True)
class History:
    """All epochs of a training and which of them the model now holds.

    Args:
      epochs: In order.
      best_epoch: Number of the epoch whose weights were kept: that with the highest mean quality,
        or the last one without valid data.
    """

    epochs: list[Epoch]
    best_epoch: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `json.dumps` takes."""
        return asdict(self)


def fit(
    model: RankingModel,
    train: Callable[[int], tf.data.Dataset],
    valid: tf.data.Dataset | None,
    *,
    epochs: int,
    patience: int,
    learning_rate: float,
    clip_norm: float | None = None,
    start: str | Path | None = None,
    checkpoint_dir: str | Path,
    log_dir: str | Path,
    checkpoint_every_steps: int,
    seed: int,
    xla: bool,
    steps: int | None = None,
    cooldown: float = 0.0,
    settle: tf.data.Dataset | None = None,
    calibrate: tf.data.Dataset | None = None,
    losses: TaskLosses | None = None,
    result: str | Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Trains until the valid data stop improving, and leaves the best epoch in the model.

    Without valid data it makes all passes, and leaves the last one.

    Dense weights learn by Adam on the mean loss of a batch, embedding rows by the embedding's own
    optimizer on its sum, so that a key's step does not depend on the batch size. A training that
    was killed goes on from its last checkpoint when called again with the same arguments, and
    ends as it would have undisturbed.

    Adam's steps do not shrink with the gradients, so at a constant rate the last ones leave their
    noise in the weights, and most in the predictions of rare tasks. With a `cooldown` the rate
    falls linearly to nothing at the end of each pass.

    Under a `tf.distribute` strategy, in whose scope the model was made and this is called, the
    global batch is spread over the replicas, and the loss is that of the global batch; see
    `replicas`. With several workers each reads its own share of every batch, the first one keeps
    the checkpoints, and all of them restore these.

    Args:
      model: The model to train, in place.
      train: Gives the batches of an epoch (1, 2, ...) as (features, labels), with several workers
        this one's share of them: features as for
        `RankingModel.call`, `day`, int64 [B], the day of each example counted from any fixed day,
        and, where the losses read them, `spaces` float32 [B, K] and `request` int64 [B]; labels
        float32 [B, K]. The same epoch must give the same batches.
      valid: Batches of the same form, for early stopping; None for a fixed number of passes.
      epochs: Passes over the training data, at most.
      patience: Epochs without a better mean quality before training stops.
      learning_rate: Adam's.
      clip_norm: Longest gradient of the dense weights together; off by default.
      start: What an earlier training ended with (`result`), to go on from: dense weights, tables,
        both optimizers and the count of epochs; by default the model's weights as they are.
      checkpoint_dir: Where checkpoints are kept; one folder a training.
      log_dir: Where TensorBoard's event files go.
      checkpoint_every_steps: Steps between checkpoints.
      seed: Seeds dropout. (Weights are drawn when the model is made.)
      xla: Whether XLA compiles the dense part of the step; on a CPU, and where the model's backbone
        has shapes that depend on values, the optimizer alone.
      steps: Steps of a pass, which a cooldown has to know.
      cooldown: Share of them, at the end of each pass, over which Adam's rate falls; 0 for none.
      settle: Batches of the same form, to which the offsets of binary tasks are fitted in the end,
        see `keras_models.offsets`; all of their labels are held in memory. None leaves them.
      calibrate: Batches of the same form that training did not learn, to which the model's
        calibration is fitted after that, likewise. None leaves it.
      losses: What is minimised; by default each task's loss in the mean over examples.
      result: Where what it ends with is written, as a checkpoint of this name.
      on_epoch: Called after each epoch.

    Returns:
      The history, epochs before a restart included.

    Raises:
      ValueError: when the training data are empty, the loss is not finite, no task has both
        classes in the valid data, or `start` is of another model.
      DiskFullError: when a checkpoint or a curve finds no room; it goes on from the checkpoint
        before that when called again.
    """
    losses = losses or TaskLosses(model.tasks)
    state = _State()
    optimizer = keras.optimizers.Adam(learning_rate, global_clipnorm=clip_norm)
    step = _Step(model, losses, optimizer, state, seed, xla)
    predict = tf.function(model.call, [model.feature_spec], autograph=False)
    workers = Workers()
    checkpoints = _Checkpoints(
        Path(checkpoint_dir), state, workers, model=model, losses=losses, optimizer=optimizer
    )
    curves = functools.partial(room_for, "TensorBoard's curves", log_dir)
    with curves():
        writer = tf.summary.create_file_writer(str(log_dir))

    if checkpoints.restore_last():
        _progress.info("training goes on in epoch %d after step %d", state.epoch, state.step)
    else:
        if start is not None:
            state.epochs_before = checkpoints.read_result(start)
        state.table_before = _counts(model)

    while state.epoch <= epochs and not state.has_stopped(patience):
        started = time.perf_counter() - state.seconds
        for features, labels in workers.in_step(train(state.epoch).skip(state.step)):
            if steps is not None and cooldown:
                share = _share_of_rate(state.step, steps, cooldown)
                optimizer.learning_rate.assign(learning_rate * share)
            step(features, labels)
            state.seconds = time.perf_counter() - started
            if state.step % checkpoint_every_steps == 0:
                checkpoints.save_last()
        loss = _mean_loss(state)
        table = _counts(model)
        quality = {} if valid is None else _valid_quality(model, predict, valid)
        quality = workers.agreed(quality)
        record = _summarize(state, loss, quality, table)
        with curves():
            _log(writer, record)
        state.begin_next_epoch(record, table)
        checkpoints.save_epoch()
        _progress.info(_line(record, epochs))
        if on_epoch is not None:
            on_epoch(record)

    writer.close()
    workers.wait()
    checkpoints.restore_best()
    if settle is not None:
        _settle(model, settle)
    if calibrate is not None:
        _calibrate(model, calibrate)
    if result is not None:
        checkpoints.write_result(result)
    return History(state.history, state.best_epoch)


def _share_of_rate(step: int, steps: int, cooldown: float) -> float:
    """What is left of the learning rate in a step from 0; never nothing."""
    last = max(1.0, cooldown * steps)
    return min(1.0, max(steps - step, 1) / last)


def _settle(model: RankingModel, rows: tf.data.Dataset) -> None:
    found = _logits_and_labels(model, rows)
    found.pop("scenario")
    model.network.shift(corrections(model.tasks, **found))


def _calibrate(model: RankingModel, rows: tf.data.Dataset) -> None:
    assert model.calibration is not None, "the model has no calibration"
    found = fit_calibration(
        model.tasks,
        num_scenarios=model.network.num_scenarios,
        groups=model.calibration.groups,
        **_logits_and_labels(model, rows),
    )
    model.calibration.assign(*found)


def _logits_and_labels(model: RankingModel, rows: tf.data.Dataset) -> dict[str, np.ndarray]:
    predict = tf.function(model.network_logits, [model.feature_spec], autograph=False)
    parts: dict[str, list[np.ndarray]] = {}
    for features, labels in rows:
        found = {"logits": predict({n: features[n] for n in model.feature_spec}), "labels": labels}
        found |= {name: features[name] for name in ("scenario", "spaces") if name in features}
        for name, values in found.items():
            parts.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def discard_checkpoints(checkpoint_dir: str | Path) -> None:
    """Removes all that a training keeps to go on from, or, when it is killed, nothing.

    Args:
      checkpoint_dir: Its folder, or one above; need not exist.
    """
    folder = Path(checkpoint_dir)
    leaving = folder.with_name(f".{folder.name}.leaving")
    shutil.rmtree(leaving, ignore_errors=True)
    if folder.exists():
        folder.rename(leaving)
        shutil.rmtree(leaving)


@dataclass
class _State:
    """Where a training stands; `batch_size` is that of the very first batch."""

    epochs_before: int = 0
    epoch: int = 1
    step: int = 0
    batch_size: int = 0
    examples: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    table_before: dict[str, Any] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        measured = [(e.mean_quality, -e.epoch) for e in self.history if e.mean_quality is not None]
        return -max(measured)[1] if measured else self.history[-1].epoch

    def has_stopped(self, patience: int) -> bool:
        return bool(self.history) and self.history[-1].epoch - self.best_epoch >= patience

    def begin_next_epoch(self, done: Epoch, table: dict[str, Any]) -> None:
        self.history.append(done)
        self.epoch += 1
        self.step = self.examples = 0
        self.loss_sum = self.seconds = 0.0
        self.table_before = table


class _SavedState(tf.train.experimental.PythonState):
    """Puts the state into the checkpoint that holds the weights."""

    def __init__(self, state: _State):
        self._state = state

    def serialize(self) -> str:
        return json.dumps(asdict(self._state))

    def deserialize(self, string_value: str) -> None:
        values = json.loads(string_value)
        values["history"] = [Epoch(**epoch) for epoch in values["history"]]
        vars(self._state).update(values)


class _Checkpoints:
    """The last moment and the best epoch, on disk.

    A kill may come at any time. Which files count is decided by the small text file that
    `CheckpointManager` replaces in one move after a save; a half-written checkpoint is never in it.
    The best epoch's file counts once the state that calls it the best is saved, so it is written
    before that, under a name of its own. What does not count is deleted after every save: what it
    superseded, and what a save that a kill or a full disk stopped left of its parts.
    """

    def __init__(self, folder: Path, state: _State, workers: Workers, **saved: Any):
        self._state = state
        self._writes = workers.is_chief
        self._saved = saved
        self._folder, self._best_folder, self._last_folder = (
            folder,
            folder / "best",
            folder / "last",
        )
        self._saved_best: str | None = None
        self._weights = tf.train.Checkpoint(**saved)
        self._all = tf.train.Checkpoint(state=_SavedState(state), **saved)
        self._last = tf.train.CheckpointManager(self._all, str(self._last_folder), max_to_keep=1)
        # Made by all workers, or the one that writes would wait for the others.
        _ = self._all.save_counter

    def restore_last(self) -> bool:
        if self._last.latest_checkpoint is None:
            return False
        self._all.restore(self._last.latest_checkpoint).assert_existing_objects_matched()
        self._saved_best = self._best.name if self._state.history else None
        if self._writes:
            self._clear()
        return True

    def save_last(self) -> None:
        self._save(with_best=False)

    def save_epoch(self) -> None:
        self._save(with_best=self._state.best_epoch == self._state.history[-1].epoch)

    def _save(self, with_best: bool) -> None:
        if not self._writes:
            return
        before = tf.train.latest_checkpoint(self._last_folder)
        try:
            with room_for("a checkpoint", self._folder):
                if with_best:
                    self._weights.write(str(self._best))
                self._last.save()
        finally:
            # A save that fails may have come far enough to count.
            if self._state.history and tf.train.latest_checkpoint(self._last_folder) != before:
                self._saved_best = self._best.name
            self._clear()

    def _clear(self) -> None:
        last = tf.train.latest_checkpoint(self._last_folder)
        _keep(self._last_folder, last and Path(last).name, "checkpoint")
        _keep(self._best_folder, self._saved_best)

    def restore_best(self) -> None:
        self._weights.read(str(self._best)).assert_existing_objects_matched()

    def read_result(self, path: str | Path) -> int:
        """Takes up what an earlier training ended with; gives its epochs since the cold start."""
        epochs = tf.Variable(0, dtype=tf.int64)
        try:
            tf.train.Checkpoint(epochs=epochs, **self._saved).read(str(path)).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                f"`start` should be what a training of this model ended with. Received: {path}, "
                f"where {error}"
            ) from error
        return int(epochs)

    def write_result(self, path: str | Path) -> None:
        epochs = tf.Variable(self._state.epochs_before + self._state.best_epoch, dtype=tf.int64)
        if not self._writes:
            return
        path = Path(path)
        try:
            with room_for("the trained weights", path):
                tf.train.Checkpoint(epochs=epochs, **self._saved).write(str(path))
        except BaseException:
            for part in path.parent.glob(f"{path.name}.*"):
                part.unlink()
            raise
        finally:
            # TensorFlow's parts of this write, or of one that was killed.
            shutil.rmtree(path.with_name(f"{path.name}_temp"), ignore_errors=True)

    @property
    def _best(self) -> Path:
        return self._best_folder / f"epoch_{self._state.best_epoch}"


def _keep(folder: Path, checkpoint: str | None, *others: str) -> None:
    """Removes all but one checkpoint's files, and others, from a folder."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.stem != checkpoint and file.name not in others:
            _remove(file)


def _remove(file: Path) -> None:
    # The parts of a save that was stopped are a folder.
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()


class _Step:
    """One training step; batches of the first one's size run compiled, a ragged last one does not.

    XLA compiles for fixed shapes. The batch size is fixed; the number of distinct rows in a batch
    is not, so rows are gathered, and their gradients summed, outside of what it compiles.
    """

    def __init__(
        self,
        model: RankingModel,
        losses: TaskLosses,
        optimizer: keras.optimizers.Optimizer,
        state: _State,
        seed: int,
        xla: bool,
        on_gpu: bool | None = None,
    ):
        self._model = model
        self._losses = losses
        self._optimizer = optimizer
        self._state = state
        self._seed = seed
        self._weights = [*model.trainable_variables, *losses.trainable_variables]
        optimizer.build(self._weights)
        engagement = [task.engagement for task in model.tasks]
        self._engagement = engagement if any(engagement) else None
        plain = functools.partial(self._run, self._dense)
        self._plain = self._full = tf.function(plain, autograph=False)
        # An optimizer's many small products and sums are one pass over the weights under XLA.
        self._update = tf.function(self._apply, jit_compile=xla, autograph=False)
        self._strategy = tf.distribute.get_strategy()
        if self._strategy.num_replicas_in_sync > 1:
            self._plain = self._full = tf.function(self._spread, autograph=False)
            return
        # On a CPU large products take as long either way, and what is between them longer.
        on_gpu = bool(tf.config.list_physical_devices("GPU")) if on_gpu is None else on_gpu
        if xla and on_gpu and model.network.supports_xla:
            dense = tf.function(self._dense, jit_compile=True, autograph=False)
            self._full = tf.function(functools.partial(self._run, dense), autograph=False)

    def __call__(self, features: Features, labels: tf.Tensor) -> None:
        size = int(labels.shape[0])
        self._state.batch_size = self._state.batch_size or size
        run = self._full if size == self._state.batch_size else self._plain
        epoch = tf.constant(self._state.epochs_before + self._state.epoch - 1, tf.int64)
        if run is self._plain and not run.experimental_get_tracing_count():
            # Of batches of any size: the ragged one would else cost a second trace.
            batch = tf.nest.map_structure(_of_any_size, (features, labels))
            run.get_concrete_function(*batch, tf.TensorSpec.from_tensor(epoch))
        loss, examples = run(features, labels, epoch)
        self._state.loss_sum += float(loss) * int(examples)
        self._state.examples += int(examples)
        self._state.step += 1

    def _spread(
        self, features: Features, labels: tf.Tensor, epoch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The step in every replica, each with its share of this worker's examples."""

        def in_replica(
            features: Features, labels: tf.Tensor, epoch: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            own = share_of_replica(tf.shape(labels)[0])
            features = {name: values[own] for name, values in features.items()}
            return self._run(self._dense_of_share, features, labels[own], epoch)

        found = self._strategy.run(in_replica, args=(features, labels, epoch))
        # Equal everywhere.
        loss, examples = (self._strategy.experimental_local_results(part)[0] for part in found)
        return loss, examples

    def _run(
        self,
        dense: Callable[..., tuple[tf.Tensor, Embedded]],
        features: Features,
        labels: tf.Tensor,
        epoch: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        embedding = self._model.embedding
        weight = None
        if self._engagement is not None:
            weight = 1.0 + tf.linalg.matvec(labels, self._engagement)
        features = dict(features)
        keys, day = features.pop("keys"), features.pop("day")
        history_keys = features.pop("history_keys", None)
        embedded, lookup = embedding.train_lookup(keys, weight, day, history_keys)
        loss, gradients = dense(embedded, features, labels, epoch)
        # Rows learn from the sum over examples: in the mean, a key's step would shrink with the
        # batch, and next to Adagrad's initial accumulator rare keys would hardly learn at all.
        examples = sum_over_replicas(tf.shape(labels)[0])
        batch_size = tf.cast(examples, tf.float32)
        summed = [None if part is None else part * batch_size for part in gradients]
        embedding.apply_gradients(lookup, Embedded(*summed))
        return loss, examples

    def _dense(
        self, embedded: Embedded, features: Features, labels: tf.Tensor, epoch: tf.Tensor
    ) -> tuple[tf.Tensor, Embedded]:
        seed = tf.stack([self._seed, self._optimizer.iterations])
        read = [part for part in embedded if part is not None]
        with tf.GradientTape() as tape:
            tape.watch(read)
            logits, _ = self._model.network(embedded, features, dropout_seed=seed)
            loss = self._losses(
                labels,
                self._model.head(logits),
                features["scenario"],
                features.get("spaces"),
                features.get("request"),
                epoch,
            )
        of_weights, of_read = tape.gradient(loss, [self._weights, read])
        self._update(of_weights)
        return loss, Embedded(*of_read)

    def _dense_of_share(
        self, embedded: Embedded, features: Features, labels: tf.Tensor, epoch: tf.Tensor
    ) -> tuple[tf.Tensor, Embedded]:
        """As `_dense`, for a replica's share of the batch."""
        seed = tf.stack([self._seed, self._optimizer.iterations])
        # Each replica drops other units.
        seed += [(1 << 32) * tf.cast(replica_number(), seed.dtype), 0]
        read = [part for part in embedded if part is not None]
        of_model = self._model.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(read)
            logits, _ = self._model.network(embedded, features, dropout_seed=seed)
            outputs = self._model.head(logits)
        # The loss of the global batch, in every replica: its means are over all examples, and it
        # may compare any of them.
        given = {name: features.get(name) for name in ("scenario", "spaces", "request")}
        of_all = {n: None if part is None else gather_batch(part) for n, part in given.items()}
        all_labels, all_outputs = gather_batch(labels), gather_batch(outputs)
        with tf.GradientTape() as of_loss:
            of_loss.watch(all_outputs)
            loss = self._losses(all_labels, all_outputs, *of_all.values(), epoch)
        of_outputs, of_losses = of_loss.gradient(
            loss, [all_outputs, self._losses.trainable_variables]
        )
        start = first_example(labels)
        own = of_outputs[start : start + tf.shape(labels)[0]]
        of_weights, of_read = tape.gradient(outputs, [of_model, read], own)
        summed = [sum_over_replicas(tf.convert_to_tensor(part)) for part in of_weights]
        self._apply([*summed, *of_losses])
        return loss, Embedded(*of_read)

    def _apply(self, gradients: Sequence[tf.Tensor]) -> None:
        # They are of the global batch already.
        self._optimizer.apply_gradients(
            zip(gradients, self._weights, strict=True), skip_gradients_aggregation=True
        )


def _of_any_size(values: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *values.shape[1:]], values.dtype)


def _counts(model: RankingModel) -> dict[str, Any]:
    embedding = model.embedding
    return {**embedding.statistics(), "hits_by_field": embedding.hits_by_field()}


def _mean_loss(state: _State) -> float:
    if not state.examples:
        raise ValueError(
            f"the training data of epoch {state.epoch} should hold examples. Received: none"
        )
    loss = state.loss_sum / state.examples
    if not math.isfinite(loss):
        raise ValueError(
            f"the mean loss of epoch {state.epoch} should be finite. Received: {loss}. "
            "Training diverged: try a lower learning rate, and look for extreme numeric inputs"
        )
    return loss


def _valid_quality(
    model: RankingModel, predict: Callable[[Features], tf.Tensor], valid: tf.data.Dataset
) -> dict[str, float | None]:
    batches: dict[str, list[np.ndarray]] = {"labels": [], "logits": [], "spaces": []}
    for features, labels in valid:
        inputs = {name: features[name] for name in model.feature_spec}
        batches["labels"].append(labels.numpy())
        batches["logits"].append(predict(inputs).numpy())
        if "spaces" in features:
            batches["spaces"].append(features["spaces"].numpy())
    if not batches["labels"]:
        raise ValueError("the valid data should hold examples. Received: none")
    joined = {name: np.concatenate(parts) for name, parts in batches.items() if parts}
    values = qualities(model.tasks, **joined)
    if set(values.values()) == {None}:
        raise ValueError(
            "the valid data should hold both classes of at least one task, to choose the best "
            f"epoch by. Received: one class only in each of {', '.join(values)}"
        )
    return values


def _summarize(
    state: _State, loss: float, quality: dict[str, float | None], table: dict[str, Any]
) -> Epoch:
    defined = [value for value in quality.values() if value is not None]
    before = state.table_before
    during = {name: table[name] - before[name] for name in table if name != "hits_by_field"}
    hits = {name: n - before["hits_by_field"][name] for name, n in table["hits_by_field"].items()}
    return Epoch(
        epoch=state.epoch,
        loss=loss,
        valid_quality=quality,
        mean_quality=sum(defined) / len(defined) if defined else None,
        examples=state.examples,
        seconds=state.seconds,
        examples_per_second=state.examples / state.seconds,
        table={
            "live_rows": table["live_rows"],
            "load": table["live_rows"] / table["capacity"],
            "admissions": during["admissions"],
            "evictions": during["evictions"],
            "expirations": during["expirations"],
            "hit_rate": during["hits"] / during["lookups"],
        },
        hit_rate_by_field={name: n / state.examples for name, n in hits.items()},
    )


def _log(writer: tf.summary.SummaryWriter, record: Epoch) -> None:
    with writer.as_default(step=record.epoch):
        tf.summary.scalar("train/loss", record.loss)
        tf.summary.scalar("train/examples_per_second", record.examples_per_second)
        if record.mean_quality is not None:
            tf.summary.scalar("valid/mean_quality", record.mean_quality)
        for task, value in record.valid_quality.items():
            if value is not None:
                tf.summary.scalar(f"valid/quality/{task}", value)
        for name, value in record.table.items():
            tf.summary.scalar(f"table/{name}", value)
        for name, value in record.hit_rate_by_field.items():
            tf.summary.scalar(f"table/hit_rate/{name}", value)
    writer.flush()


def _line(record: Epoch, epochs: int) -> str:
    by_task = "  ".join(
        f"{task} {'-' if value is None else format(value, '.4f')}"
        for task, value in record.valid_quality.items()
    )
    valid = f"valid {by_task}  " if by_task else ""
    return (
        f"epoch {record.epoch}/{epochs}  loss {record.loss:.4f}  {valid}"
        f"{record.examples_per_second:,.0f} examples/s"
    )
