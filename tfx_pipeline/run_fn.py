"""The Trainer's entry: builds the model that the config names, fits it, exports it."""

from __future__ import annotations

import hashlib
import os

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx

from keras_models.backbones.ple import Ple
from keras_models.embeddings import DynamicEmbedding
from keras_models.model import RankingModel
from keras_models.precision import precision
from keras_models.tasks import Task
from keras_models.training import fit
from serving.export import export
from tfx_pipeline.artifacts import write_json
from tfx_pipeline.config import Config
from tfx_pipeline.embedding_config import embedding_config
from transforms.feature_state import read_state
from transforms.served_statistics import ServedStatistics

HISTORY_FILE = "history.json"
"""In the ModelRun artifact: the `History` that `fit` returned."""


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains on the transformed examples and writes the SavedModel.

    Args:
      fn_args: TFX's; `custom_config` holds `config` (JSON), `checkpoint_root`, the folder where
        a killed training finds its checkpoints, and `feature_state`, the folder of the state as
        of the end of the last day.
    """
    config = Config.model_validate_json(fn_args.custom_config["config"])
    _refuse_what_the_device_lacks(config)
    graph = tft.TFTransformOutput(fn_args.transform_output)
    spec = graph.transformed_feature_spec()

    tf.keras.utils.set_random_seed(config.training.seed)
    model = build_model(config, num_numbers=spec["numbers"].shape[0])
    checkpoint_dir = os.path.join(
        fn_args.custom_config["checkpoint_root"], training_fingerprint(fn_args, config)
    )
    history = fit(
        model,
        lambda epoch: dataset(
            fn_args.train_files,
            spec,
            config.training.batch_size,
            shuffle_buffer=config.training.shuffle_buffer,
            seed=config.training.seed + epoch,
        ),
        dataset(fn_args.eval_files, spec, config.training.batch_size),
        epochs=config.training.epochs,
        patience=config.training.patience,
        learning_rate=config.training.learning_rate,
        clip_norm=config.training.clip_norm,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every_steps=config.training.checkpoint_every_steps,
        log_dir=fn_args.model_run_dir,
        seed=config.training.seed,
        xla=config.training.xla,
    )
    write_json(fn_args.model_run_dir, HISTORY_FILE, history.to_dict())
    export(
        model,
        graph,
        feature_names=[
            *config.features.categorical,
            *config.features.numeric,
            config.scenario.column,
        ],
        tasks=list(config.tasks),
        destination=fn_args.serving_model_dir,
        statistics=ServedStatistics(read_state(fn_args.custom_config["feature_state"])),
    )
    # The model is written: from here on nothing can be resumed.
    tf.io.gfile.rmtree(checkpoint_dir)


def _refuse_what_the_device_lacks(config: Config) -> None:
    settings = config.training
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if settings.precision == "mixed_bfloat16" and settings.xla and not on_gpu:
        raise ValueError(
            "training.precision: found mixed_bfloat16 with training.xla and no GPU; expected one "
            "of them alone, because XLA has no bfloat16 products on a CPU. Set training.xla=false"
        )


def build_model(config: Config, *, num_numbers: int) -> RankingModel:
    """The model that the config names.

    Args:
      config: The run's config.
      num_numbers: Columns of `numbers`.
    """
    settings = config.model
    with precision(config.training.precision):
        return RankingModel(
            tasks=[Task(name, task.weight, task.engagement) for name, task in config.tasks.items()],
            num_numbers=num_numbers,
            num_scenarios=len(config.scenario.names),
            backbone=Ple(num_tasks=len(config.tasks), **settings.ple.model_dump()),
            tower_units=settings.tower_units,
            dropout=settings.dropout,
            embedding=DynamicEmbedding(
                embedding_config(settings.embedding, config.features.fields),
                seed=config.training.seed,
                dtype="float32",
            ),
        )


def dataset(
    patterns: list[str],
    spec: dict[str, tf.io.FixedLenFeature],
    batch_size: int,
    *,
    shuffle_buffer: int = 0,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches of ({"keys", "numbers", "scenario", "day"}, labels) from transformed examples.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      batch_size: Rows per batch; the last one may be smaller.
      shuffle_buffer: Rows to shuffle among; 0 keeps the files' order.
      seed: Of the shuffling; the same seed gives the same order.
    """
    files = sorted(f for pattern in patterns for f in tf.io.gfile.glob(pattern))
    rows = tf.data.TFRecordDataset(files, compression_type="GZIP")
    if shuffle_buffer:
        rows = rows.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=False)

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = tf.io.parse_example(serialized, spec)
        labels = features.pop("labels")
        return features, labels

    return (
        rows.batch(batch_size)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def training_fingerprint(fn_args: tfx.components.FnArgs, config: Config) -> str:
    """Names what is being trained, so that only the same training resumes from a checkpoint."""
    sections = config.model_dump_json(include={"tasks", "scenario", "model", "training"})
    parts = [sections, fn_args.transform_output, *fn_args.train_files, *fn_args.eval_files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
