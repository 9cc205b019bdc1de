"""The Trainer's entry: builds the model that the config names, fits it, exports it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx

from keras_models.model import RankingModel
from keras_models.training import History, fit
from serving.delta import SyncFile
from serving.export import export
from serving.warmup import WARMUP_REQUESTS, warmup_requests, write_requests
from tfx_pipeline.artifacts import first_examples, read_ancestors, write_json
from tfx_pipeline.build_model import build_model, task_losses
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day
from tfx_pipeline.inputs import history
from tfx_pipeline.mean_gates import GATES_FILE, mean_gates
from tfx_pipeline.model_card import folder_hash
from transforms.dense_transform import DenseTransform
from transforms.feature_state import read_state
from transforms.served_statistics import ServedStatistics

HISTORY_FILE = "history.json"
"""In the ModelRun artifact: the `History` that `fit` returned."""

TRAINED = "trained"
"""In the ModelRun artifact: the checkpoint of what the training ended with."""

_REQUEST_BLOCK = 256
"""Rows that stay side by side where tasks rank within requests. Examples come request by request,
and a request at the end of a block may be cut in two, which costs the pairs between its parts."""

_COUNTED = 65_536
"""Rows a batch where scenarios are counted."""


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains on the transformed examples and writes the SavedModel.

    Args:
      fn_args: TFX's; `custom_config` holds `config` (JSON), `checkpoint_root`, the folder where
        a killed training finds its checkpoints, `feature_state`, the folder of the state as of
        the end of the last day, and `examples`, that of the raw examples, some of which become the
        warm-up requests; in the run of a day also `day` and `parent`, the folder that says what it
        goes on from.
    """
    custom, destination = fn_args.custom_config, fn_args.serving_model_dir
    config = on_day(
        Config.model_validate_json(custom["config"]),
        custom.get("day", ""),
        read_ancestors(custom["parent"]) if "parent" in custom else None,
    )
    graph = tft.TFTransformOutput(fn_args.transform_output)
    spec = graph.transformed_feature_spec()

    tf.keras.utils.set_random_seed(config.training.seed)
    model = build_model(config, num_numbers=spec["numbers"].shape[0])
    rows_by_scenario = []
    if config.model.loss.scenario_weights != "equal":
        rows_by_scenario = count_scenarios(fn_args.train_files, spec, len(config.scenario.names))
    checkpoint_dir = os.path.join(custom["checkpoint_root"], training_fingerprint(fn_args, config))
    trained = os.path.join(fn_args.model_run_dir, TRAINED)
    losses = task_losses(config, rows_by_scenario)

    def fit_on(
        files: list[str], valid: tf.data.Dataset | None, epochs: int, start: Path | None, name: str
    ) -> History:
        return fit(
            model,
            lambda epoch: dataset(
                files,
                spec,
                config.training.batch_size,
                shuffle_buffer=config.training.shuffle_buffer,
                seed=config.training.seed + epoch,
                block=_REQUEST_BLOCK if "request" in spec else 1,
            ),
            valid,
            epochs=epochs,
            patience=config.training.patience,
            learning_rate=config.training.learning_rate,
            clip_norm=config.training.clip_norm,
            checkpoint_dir=os.path.join(checkpoint_dir, name),
            checkpoint_every_steps=config.training.checkpoint_every_steps,
            log_dir=os.path.join(fn_args.model_run_dir, name),
            seed=config.training.seed,
            xla=config.training.xla,
            losses=losses,
            start=start,
            result=trained,
        )

    held_out = dataset(fn_args.eval_files, spec, config.training.batch_size)
    valid = held_out if config.data.valid is not None else None
    settings = config.training
    fitted = fit_on(fn_args.train_files, valid, settings.epochs, settings.start, "train")
    if custom.get("day") and valid is not None:
        # The day of the run has stopped the training; now it is learnt as any later day will be.
        fit_on(fn_args.eval_files, None, config.daily.epochs, Path(trained), "day")
    write_json(fn_args.model_run_dir, HISTORY_FILE, fitted.to_dict())
    gates = mean_gates(model, held_out, config.scenario.names)
    write_json(fn_args.model_run_dir, GATES_FILE, gates)
    columns = export_model(model, graph, config, custom["feature_state"], destination)
    write_requests(
        os.path.join(destination, WARMUP_REQUESTS),
        warmup_requests(
            # Of the days closest to what will be asked.
            first_examples(custom["examples"], "eval", config.serving.warmup_largest),
            columns,
            config.serving.warmup_rows,
            config.serving.warmup_candidates,
        ),
    )
    # The model is written: from here on nothing can be resumed.
    tf.io.gfile.rmtree(checkpoint_dir)


def export_model(
    model: RankingModel,
    graph: tft.TFTransformOutput,
    config: Config,
    feature_state: str,
    destination: str,
) -> dict[str, list[str]]:
    """Writes the SavedModel of a trained model, as the config wants it to be served.

    With `serving.delta`, what delta sync needs lies beside it.

    Args:
      model: The trained model.
      graph: The transform graph that it was trained with.
      config: The run's config.
      feature_state: Folder of the state as of the end of the last day.
      destination: Folder to write.

    Returns:
      The names of what a request carries, see `serving.export.export`.
    """
    kept, fusion = history(config), config.model.fusion
    columns = export(
        model,
        graph,
        feature_names=[
            *config.features.categorical,
            *config.features.numeric,
            config.scenario.column,
        ],
        tasks=list(config.tasks),
        destination=destination,
        statistics=ServedStatistics(read_state(feature_state)),
        histories=kept.features if kept else (),
        raw_numbers=[fusion.length.column] if fusion and fusion.length else [],
        binary_tasks=[name for name, task in config.tasks.items() if task.kind == "binary"],
        items=config.serving.item_columns,
        dense_transform=DenseTransform(graph.transform_savedmodel_dir)
        if config.serving.item_columns
        else None,
        scenarios=config.scenario.names,
        embedding_rows=config.serving.embedding_rows,
    )
    if config.serving.delta is not None:
        states = model.embedding.sync_states()
        SyncFile.of_export(states, folder_hash(graph.transform_savedmodel_dir)).write(destination)
    return columns


def dataset(
    patterns: list[str],
    spec: dict[str, tf.io.FixedLenFeature],
    batch_size: int,
    *,
    shuffle_buffer: int = 0,
    seed: int = 0,
    block: int = 1,
) -> tf.data.Dataset:
    """Batches of (features, labels) from transformed examples.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      batch_size: Rows per batch; the last one may be smaller.
      shuffle_buffer: Rows to shuffle among; 0 keeps the files' order.
      seed: Of the shuffling; the same seed gives the same order.
      block: Rows that stay side by side when shuffled, as those of a request have to.
    """
    rows = tf.data.TFRecordDataset(_files(patterns), compression_type="GZIP")
    if shuffle_buffer:
        if block > 1:
            rows = rows.batch(block)
        size = max(1, shuffle_buffer // block)
        rows = rows.shuffle(size, seed=seed, reshuffle_each_iteration=False)
        if block > 1:
            rows = rows.unbatch()

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = tf.io.parse_example(serialized, spec)
        labels = features.pop("labels")
        return features, labels

    return (
        rows.batch(batch_size)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def count_scenarios(
    patterns: list[str], spec: dict[str, tf.io.FixedLenFeature], scenarios: int
) -> list[int]:
    """Examples of each scenario, in one pass that reads nothing else.

    Args:
      patterns: Globs of gzipped TFRecords.
      spec: The transformed examples' features.
      scenarios: M.
    """
    rows = tf.data.TFRecordDataset(_files(patterns), compression_type="GZIP").batch(_COUNTED)

    def add(counts: tf.Tensor, serialized: tf.Tensor) -> tf.Tensor:
        scenario = tf.io.parse_example(serialized, {"scenario": spec["scenario"]})["scenario"]
        return counts + tf.math.bincount(scenario, minlength=scenarios, dtype=tf.int64)

    counts: list[int] = rows.reduce(tf.zeros([scenarios], tf.int64), add).numpy().tolist()
    return counts


def _files(patterns: list[str]) -> list[str]:
    return sorted(f for pattern in patterns for f in tf.io.gfile.glob(pattern))


def training_fingerprint(fn_args: tfx.components.FnArgs, config: Config) -> str:
    """Names what is being trained, so that only the same training resumes from a checkpoint."""
    sections = config.model_dump_json(include={"tasks", "scenario", "model", "training"})
    parts = [sections, fn_args.transform_output, *fn_args.train_files, *fn_args.eval_files]
    if config.serving.delta is not None:
        # Its counts are in the checkpoint, too.
        parts.append("counts updates")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
