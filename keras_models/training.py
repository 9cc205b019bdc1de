"""Fits a ranking model: datasets in, checkpoints and a history out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models import metrics
from keras_models.losses import weighted_bce
from keras_models.model import RankingModel

_progress = logging.getLogger("equipoise.progress")

Features = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data did.

    Args:
      epoch: Its number, from 1.
      loss: Mean training loss.
      valid_auc: AUC on the valid data by task; None where the data hold one class only.
      mean_auc: Mean of the AUCs that are defined.
      examples: Training examples.
      seconds: Time the training steps took.
      examples_per_second: Their ratio.
      table: `live_rows` of the embedding table at the end; `admissions` and `evictions` in this
        epoch; `hit_rate`, the share of keys read in this epoch that had a row of their own.
    """

    epoch: int
    loss: float
    valid_auc: dict[str, float | None]
    mean_auc: float
    examples: int
    seconds: float
    examples_per_second: float
    table: dict[str, float]


@dataclass(frozen=True)
class History:
    """All epochs of a training and which of them the model now holds.

    Args:
      epochs: In order.
      best_epoch: Number of the epoch with the highest mean AUC, whose weights were kept.
    """

    epochs: list[Epoch]
    best_epoch: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `json.dumps` takes."""
        return asdict(self)


def fit(
    model: RankingModel,
    train: Callable[[int], tf.data.Dataset],
    valid: tf.data.Dataset,
    *,
    epochs: int,
    patience: int,
    learning_rate: float,
    checkpoint_dir: str | Path,
    log_dir: str | Path,
    checkpoint_every_steps: int,
    seed: int,
    xla: bool,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Trains until the valid data stop improving, and leaves the best epoch in the model.

    Dense weights learn by Adam, embedding rows by the table's own Adagrad. A training that was
    killed goes on from its last checkpoint when called again with the same arguments, and ends
    as it would have undisturbed.

    Args:
      model: The model to train, in place.
      train: Gives the batches of an epoch (1, 2, ...) as (features, labels): features as for
        `RankingModel.call`, labels float32 [B, K]. The same epoch must give the same batches.
      valid: Batches of the same form, for early stopping.
      epochs: Passes over the training data, at most.
      patience: Epochs without a better mean AUC before training stops.
      learning_rate: Adam's.
      checkpoint_dir: Where checkpoints are kept; one folder a training.
      log_dir: Where TensorBoard's event files go.
      checkpoint_every_steps: Steps between checkpoints.
      seed: Seeds dropout. (Weights are drawn when the model is made.)
      xla: Whether XLA compiles the dense part of the step.
      on_epoch: Called after each epoch.

    Returns:
      The history, epochs before a restart included.

    Raises:
      ValueError: when the training data are empty, the loss is not finite, or no task has both
        classes in the valid data.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)
    state = _State(table_before=model.table.statistics())
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, state=_SavedState(state))
    last = tf.train.CheckpointManager(checkpoint, str(Path(checkpoint_dir, "last")), max_to_keep=2)
    best = tf.train.CheckpointManager(checkpoint, str(Path(checkpoint_dir, "best")), max_to_keep=1)
    writer = tf.summary.create_file_writer(str(log_dir))
    step = _Step(model, optimizer, state, seed, xla)

    if last.latest_checkpoint:
        checkpoint.restore(last.latest_checkpoint).assert_existing_objects_matched()
        _progress.info("training goes on at epoch %d, step %d", state.epoch, state.step)

    while state.epoch <= epochs and not state.has_stopped(patience):
        started = time.perf_counter() - state.seconds
        for features, labels in train(state.epoch).skip(state.step):
            step(features, labels)
            state.step += 1
            state.seconds = time.perf_counter() - started
            if state.step % checkpoint_every_steps == 0:
                last.save()
        record = _finish_epoch(state, model, valid)
        _log(writer, record)
        state.begin_next_epoch(record, model.table.statistics())
        if state.best_epoch == record.epoch:
            best.save()
        last.save()
        _progress.info(_line(record, epochs))
        if on_epoch is not None:
            on_epoch(record)

    history = History(state.history, state.best_epoch)
    checkpoint.restore(best.latest_checkpoint).assert_existing_objects_matched()
    return history


@dataclass
class _State:
    """Where a training stands."""

    epoch: int = 1
    step: int = 0
    examples: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    table_before: dict[str, int] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        return max(self.history, key=lambda e: (e.mean_auc, -e.epoch)).epoch

    def has_stopped(self, patience: int) -> bool:
        return bool(self.history) and self.history[-1].epoch - self.best_epoch >= patience

    def begin_next_epoch(self, done: Epoch, table: dict[str, int]) -> None:
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
        vars(self._state).update(values, history=[Epoch(**epoch) for epoch in values["history"]])


class _Step:
    """One training step; batches of the first one's size run compiled, a ragged last one does not.

    XLA compiles for fixed shapes. The batch size is fixed; the number of distinct rows in a batch
    is not, so rows are gathered, and their gradients summed, outside of what it compiles.
    """

    def __init__(
        self,
        model: RankingModel,
        optimizer: keras.optimizers.Optimizer,
        state: _State,
        seed: int,
        xla: bool,
    ):
        self._model = model
        self._optimizer = optimizer
        self._state = state
        self._seed = seed
        self._weights = [task.weight for task in model.tasks]
        self._plain = tf.function(self._run, reduce_retracing=True)
        dense = tf.function(self._dense, jit_compile=True)
        self._full = tf.function(lambda *args: self._run(*args, dense=dense)) if xla else None
        self._full_size: int | None = None

    def __call__(self, features: Features, labels: tf.Tensor) -> None:
        size = int(labels.shape[0])
        self._full_size = self._full_size or size
        run = self._full if self._full and size == self._full_size else self._plain
        loss = run(features, labels, tf.constant([self._seed, self._state.epoch, self._state.step]))
        self._state.loss_sum += float(loss) * size
        self._state.examples += size

    def _run(
        self,
        features: Features,
        labels: tf.Tensor,
        moment: tf.Tensor,
        dense: Callable[..., Any] | None = None,
    ) -> tf.Tensor:
        table = self._model.table
        rows, slots, index = table.train_lookup(features["keys"])
        embedded = tf.reshape(tf.gather(rows, index), [-1, table.num_fields, table.dim])
        loss, gradients, embedded_gradient = (dense or self._dense)(
            embedded, features["numbers"], features["scenario"], labels, moment
        )
        row_gradients = tf.math.unsorted_segment_sum(
            tf.reshape(embedded_gradient, [-1, table.dim]), index, tf.size(slots)
        )
        self._optimizer.apply_gradients(zip(gradients, self._model.trainable_variables))
        table.apply_gradients(slots, row_gradients)
        return loss

    def _dense(
        self,
        embedded: tf.Tensor,
        numbers: tf.Tensor,
        scenario: tf.Tensor,
        labels: tf.Tensor,
        moment: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
        seed = tf.random.experimental.stateless_fold_in(moment[:2], moment[2])
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            logits, _ = self._model.network(embedded, numbers, scenario, dropout_seed=seed)
            loss = weighted_bce(labels, logits, self._weights)
        *gradients, embedded_gradient = tape.gradient(
            loss, [*self._model.trainable_variables, embedded]
        )
        return loss, gradients, embedded_gradient


def _finish_epoch(state: _State, model: RankingModel, valid: tf.data.Dataset) -> Epoch:
    if not state.examples:
        raise ValueError(f"epoch {state.epoch}: the training data should hold examples, found none")
    loss = state.loss_sum / state.examples
    if not np.isfinite(loss):
        raise ValueError(
            f"epoch {state.epoch}: the mean loss is {loss}, so training diverged; "
            "a lower learning rate, or inputs without extreme numbers, may help"
        )
    valid_auc = evaluate(model, valid)
    defined = [value for value in valid_auc.values() if value is not None]
    if not defined:
        raise ValueError(
            "the valid data should hold positives and negatives of at least one task, "
            f"found one class only in all of {', '.join(valid_auc)}"
        )
    table = model.table.statistics()
    counted = {name: table[name] - before for name, before in state.table_before.items()}
    return Epoch(
        epoch=state.epoch,
        loss=loss,
        valid_auc=valid_auc,
        mean_auc=float(np.mean(defined)),
        examples=state.examples,
        seconds=state.seconds,
        examples_per_second=state.examples / state.seconds,
        table={
            "live_rows": table["live_rows"],
            "admissions": counted["admissions"],
            "evictions": counted["evictions"],
            "hit_rate": counted["hits"] / counted["lookups"],
        },
    )


def evaluate(model: RankingModel, data: tf.data.Dataset) -> dict[str, float | None]:
    """AUC by task.

    Args:
      model: A ranking model.
      data: Batches of (features, labels).

    Returns:
      AUC by the task's name; None where the data hold one class only.
    """
    predict = tf.function(model.call, reduce_retracing=True)
    batches = [(labels.numpy(), predict(features).numpy()) for features, labels in data]
    if not batches:
        raise ValueError("the valid data should hold examples, found none")
    labels, logits = (np.concatenate(part) for part in zip(*batches, strict=True))
    return {
        task.name: metrics.auc(labels[:, k], logits[:, k]) for k, task in enumerate(model.tasks)
    }


def _log(writer: tf.summary.SummaryWriter, record: Epoch) -> None:
    with writer.as_default(step=record.epoch):
        tf.summary.scalar("train/loss", record.loss)
        tf.summary.scalar("train/examples_per_second", record.examples_per_second)
        tf.summary.scalar("valid/mean_auc", record.mean_auc)
        for task, value in record.valid_auc.items():
            if value is not None:
                tf.summary.scalar(f"valid/auc/{task}", value)
        for name, value in record.table.items():
            tf.summary.scalar(f"table/{name}", value)
    writer.flush()


def _line(record: Epoch, epochs: int) -> str:
    by_task = "  ".join(
        f"{task} {'-' if value is None else format(value, '.4f')}"
        for task, value in record.valid_auc.items()
    )
    return (
        f"epoch {record.epoch}/{epochs}  loss {record.loss:.4f}  valid AUC {by_task}  "
        f"{record.examples_per_second:,.0f} examples/s"
    )
