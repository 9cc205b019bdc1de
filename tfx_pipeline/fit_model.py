"""A training, as the Trainer runs it, and as the workers do that it is spread over."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
from pydantic import BaseModel, ConfigDict

from keras_models.model import RankingModel
from keras_models.offsets import base_offsets
from keras_models.training import History, fit
from keras_models.workers import Workers
from tfx_pipeline.build_model import build_model, model_tasks, task_losses
from tfx_pipeline.config import Config
from tfx_pipeline.model_run import TRAINED
from tfx_pipeline.transformed_rows import dataset, totals

_REQUEST_BLOCK = 256
"""Rows that stay side by side where tasks rank within requests. Examples come request by request,
and a request at the end of a block may be cut in two, which costs the pairs between its parts."""


_SETTLED, _SETTLED_BATCH = 1 << 22, 8192
"""Rows, at most, that the offsets, or the calibration, are fitted to. Files hold rows in the order
of hashes, so the first ones are a sample of all days."""


class TrainingJob(BaseModel):
    """All that a training needs to know.

    Args:
      config: The run's config, that of the day if the run is of one.
      transform_output: Folder of the transform graph.
      train_files: Globs of the transformed training examples.
      valid_files: Of those that stop it early; none for a fixed number of epochs.
      learn_valid: Whether these are learnt in the end, in `daily.epochs` passes.
      checkpoint_dir: Where its checkpoints are kept, and where `trained` is left.
      log_dir: Where TensorBoard's event files go.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config
    transform_output: str
    train_files: list[str]
    valid_files: list[str]
    learn_valid: bool
    checkpoint_dir: str
    log_dir: str

    @property
    def trained(self) -> str:
        """What the training ends with, a checkpoint."""
        return os.path.join(self.checkpoint_dir, TRAINED)

    def build(self) -> RankingModel:
        """The model, with cold weights."""
        tf.keras.utils.set_random_seed(self.config.training.seed)
        spec = tft.TFTransformOutput(self.transform_output).transformed_feature_spec()
        return build_model(self.config, num_numbers=spec["numbers"].shape[0])


def fit_model(job: TrainingJob) -> tuple[RankingModel, History]:
    """Trains, on the devices of the `tf.distribute` strategy in whose scope this is.

    Returns:
      The model, and its history up to where the valid days stopped it.
    """
    config, settings = job.config, job.config.training
    spec = tft.TFTransformOutput(job.transform_output).transformed_feature_spec()
    model = job.build()
    tasks = model_tasks(config)
    found = totals(job.train_files, spec, tasks, len(config.scenario.names))
    # Where it goes on from another training, its weights bring their own.
    model.network.shift(base_offsets(tasks, found.labelled, found.labels))
    losses = task_losses(config, found.scenarios)
    workers = Workers()

    def fit_on(
        files: list[str],
        rows: int,
        valid: tf.data.Dataset | None,
        epochs: int,
        start: Path | None,
        name: str,
        settle: tf.data.Dataset | None,
        calibrate: tf.data.Dataset | None,
    ) -> History:
        return fit(
            model,
            lambda epoch: dataset(
                files,
                spec,
                settings.batch_size // workers.count,
                shuffle_buffer=settings.shuffle_buffer,
                seed=settings.seed + epoch,
                block=_REQUEST_BLOCK if "request" in spec else 1,
                share=(workers.index, workers.count),
            ),
            valid,
            epochs=epochs,
            patience=settings.patience,
            learning_rate=settings.learning_rate,
            clip_norm=settings.clip_norm,
            checkpoint_dir=os.path.join(job.checkpoint_dir, name),
            checkpoint_every_steps=settings.checkpoint_every_steps,
            log_dir=os.path.join(job.log_dir, f"{name}-{workers.index}" if workers.index else name),
            seed=settings.seed,
            xla=settings.xla,
            steps=-(-rows // settings.batch_size),
            cooldown=settings.cooldown,
            settle=settle,
            calibrate=calibrate,
            losses=losses,
            start=start,
            result=job.trained,
        )

    valid = dataset(job.valid_files, spec, settings.batch_size) if job.valid_files else None
    learnt = [*job.train_files, *(job.valid_files if job.learn_valid else ())]
    settle = dataset(learnt, spec, _SETTLED_BATCH).take(_SETTLED // _SETTLED_BATCH)
    calibrate = None
    if valid is not None and settings.calibration is not None:
        calibrate = dataset(job.valid_files, spec, _SETTLED_BATCH).take(_SETTLED // _SETTLED_BATCH)
    history = fit_on(
        job.train_files,
        found.rows,
        valid,
        settings.epochs,
        settings.start,
        "train",
        None if job.learn_valid else settle,
        calibrate,
    )
    if job.learn_valid:
        # The last day has stopped the training; now it is learnt as any later day will be.
        rows = totals(job.valid_files, spec, tasks, len(config.scenario.names)).rows
        start = Path(job.trained)
        fit_on(job.valid_files, rows, None, config.daily.epochs, start, "day", settle, None)
    return model, history
