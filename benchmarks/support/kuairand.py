"""KuaiRand-Pure's rows as the models read them, in memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from keras_models.model import RankingModel
from keras_models.offsets import base_offsets
from keras_models.training import Epoch, fit
from tfx_pipeline.build_model import build_model, task_losses
from tfx_pipeline.config import Config
from tfx_pipeline.transformed_rows import dataset

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data/kuairand_pure"
EQUIPOISE = Path(sys.executable).with_name("equipoise")
BLOCKED_BY_GATE = 3


@dataclass(frozen=True)
class Rows:
    """A split, column by column.

    Args:
      features: Inputs of the model by name, [R, ...] each.
      labels: float32 [R, K].
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray

    def batches(self, size: int, seed: int | None = None) -> tf.data.Dataset:
        """Batches of (features, labels), shuffled by a seed or in order."""
        order = np.arange(len(self.labels))
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        columns = {name: tf.constant(values) for name, values in self.features.items()}
        labels = tf.constant(self.labels)

        @tf.autograph.experimental.do_not_convert
        def rows(places: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            features = {name: tf.gather(values, places) for name, values in columns.items()}
            return features, tf.gather(labels, places)

        return tf.data.Dataset.from_tensor_slices(order).batch(size).map(rows).prefetch(4)


def run_once(config: Path, data: str, workdir: Path, settings: Sequence[str] = ()) -> None:
    """Runs a config, for what it ingests and transforms."""
    sets = [part for setting in (f"data.path={data}", *settings) for part in ("--set", setting)]
    command = [str(EQUIPOISE), "run", str(config), "--workdir", str(workdir), *sets]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, BLOCKED_BY_GATE):
        raise SystemExit(f"equipoise run ended with status {done.returncode}")


def read_splits(workdir: Path) -> dict[str, Rows]:
    """The transformed rows of the newest run, by split."""
    pipeline = workdir / "pipeline" / "Transform"
    graph = max(pipeline.glob("transform_graph/*"), key=lambda path: int(path.name))
    spec = tft.TFTransformOutput(str(graph)).transformed_feature_spec()
    examples = pipeline / "transformed_examples" / graph.name
    return {
        split: _read(dataset([str(examples / f"Split-{split}" / "*")], spec, 4096))
        for split in ("train", "valid", "eval")
    }


def _read(batches: tf.data.Dataset) -> Rows:
    features: dict[str, list[np.ndarray]] = {}
    labels = []
    for batch, targets in batches:
        labels.append(targets.numpy())
        for name, values in batch.items():
            features.setdefault(name, []).append(values.numpy())
    joined = {name: np.concatenate(parts) for name, parts in features.items()}
    return Rows(joined, np.concatenate(labels))


def fit_model(config: Config, rows: Mapping[str, Rows]) -> tuple[RankingModel, Epoch]:
    """Trains the config's model.

    Args:
      config: Of the model and its training; the columns of its tasks are those of the labels.
      rows: By split.

    Returns:
      The model, and the epoch that the valid day picked.
    """
    settings = config.training
    tf.keras.utils.set_random_seed(settings.seed)
    model = build_model(config, num_numbers=rows["train"].features["numbers"].shape[1])
    sizes = np.bincount(rows["train"].features["scenario"], minlength=len(config.scenario.names))
    labels = rows["train"].labels
    names = list(config.tasks)
    model.network.shift(
        base_offsets(
            model.tasks,
            dict.fromkeys(names, len(labels)),
            {name: labels[:, [k]].sum(axis=0) for k, name in enumerate(names)},
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        history = fit(
            model,
            lambda epoch: rows["train"].batches(settings.batch_size, 1000 * settings.seed + epoch),
            rows["valid"].batches(4096),
            epochs=settings.epochs,
            patience=settings.patience,
            learning_rate=settings.learning_rate,
            checkpoint_dir=f"{folder}/checkpoints",
            log_dir=f"{folder}/logs",
            checkpoint_every_steps=1_000_000,
            seed=settings.seed,
            xla=settings.xla,
            steps=-(-len(labels) // settings.batch_size),
            cooldown=settings.cooldown,
            settle=rows["train"].batches(8192),
            calibrate=rows["valid"].batches(8192) if settings.calibration else None,
            losses=task_losses(config, sizes.tolist()),
        )
    return model, history.epochs[history.best_epoch - 1]


def train(config: Config, rows: Mapping[str, Rows]) -> tuple[Epoch, dict[str, np.ndarray]]:
    """Trains the config's model.

    Args:
      config: See `fit_model`.
      rows: By split.

    Returns:
      The epoch that the valid day picked, and its logits on `valid` and `eval`, [R, L] each.
    """
    model, epoch = fit_model(config, rows)

    @tf.function(autograph=False)
    def predict(features: dict[str, tf.Tensor]) -> tf.Tensor:
        return model({name: features[name] for name in model.feature_spec})

    logits = {
        split: np.concatenate([predict(f).numpy() for f, _ in rows[split].batches(4096)])
        for split in ("valid", "eval")
    }
    return epoch, logits
