"""The Trainer's entry: builds the model that the config names, fits it, exports it."""

from __future__ import annotations

import hashlib
import os

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx

from keras_models.model import RankingModel
from keras_models.training import discard_checkpoints
from serving.delta import SyncFile
from serving.export import export
from serving.warmup import WARMUP_REQUESTS, warmup_requests, write_requests
from tfx_pipeline.artifacts import first_examples, write_json
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day, read_ancestors
from tfx_pipeline.file_hashes import folder_hash
from tfx_pipeline.fit_model import TrainingJob, fit_model
from tfx_pipeline.frozen_graph import graph_problems
from tfx_pipeline.inputs import history as history_of
from tfx_pipeline.mean_gates import mean_gates
from tfx_pipeline.model_run import GATES_FILE, HISTORY_FILE, TRAINED
from tfx_pipeline.start_weights import meaning_file, start_weights_problems, weights_meaning
from tfx_pipeline.transformed_rows import dataset
from tfx_pipeline.workers import fit_spread
from transforms.dense_transform import DenseTransform
from transforms.feature_state import read_state, served_folder
from transforms.problems import InputError
from transforms.served_statistics import ServedStatistics

_LOOKED_AT = 1024
"""Rows a batch where gates are averaged."""


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains on the transformed examples and writes the SavedModel.

    Args:
      fn_args: TFX's; `custom_config` holds `config` (JSON), `checkpoint_root`, the folder where
        a killed training finds its checkpoints, `feature_state`, the folder of the state as of
        the end of the last day, `raw_examples`, that of the examples before the transform, some of
        which become the warm-up requests, `day`, empty for the config's own days, and `code`, the
        version of the code; in the run of a day also `parent`, the folder that says what it goes
        on from.
    """
    custom, destination = fn_args.custom_config, fn_args.serving_model_dir
    config = on_day(
        Config.model_validate_json(custom["config"]),
        custom["day"],
        read_ancestors(custom["parent"]) if "parent" in custom else None,
    )
    graph = tft.TFTransformOutput(fn_args.transform_output)
    # On Kubeflow nothing has looked at them before.
    problems = [
        *graph_problems(fn_args.transform_output, config),
        *start_weights_problems(config),
    ]
    if problems:
        raise InputError(problems)
    job = TrainingJob(
        config=config,
        transform_output=fn_args.transform_output,
        train_files=fn_args.train_files,
        valid_files=[] if config.data.valid is None else fn_args.eval_files,
        learn_valid=bool(custom["day"]) and config.data.valid is not None,
        checkpoint_dir=os.path.join(
            custom["checkpoint_root"], training_fingerprint(fn_args, config)
        ),
        log_dir=fn_args.model_run_dir,
    )
    if config.training.distribution == "one_device":
        model, fitted = fit_model(job)
        history = fitted.to_dict()
    else:
        model, history = fit_spread(job)
    for file in tf.io.gfile.glob(f"{job.trained}.*"):
        copy = os.path.join(fn_args.model_run_dir, os.path.basename(file))
        tf.io.gfile.copy(file, copy, overwrite=True)
    write_json(fn_args.model_run_dir, meaning_file(TRAINED), weights_meaning(config))
    write_json(fn_args.model_run_dir, HISTORY_FILE, history)
    looked_at = dataset(fn_args.eval_files, graph.transformed_feature_spec(), _LOOKED_AT)
    write_json(
        fn_args.model_run_dir, GATES_FILE, mean_gates(model, looked_at, config.scenario.names)
    )
    columns = export_model(model, graph, config, custom["feature_state"], destination)
    write_requests(
        os.path.join(destination, WARMUP_REQUESTS),
        warmup_requests(
            # Of the days closest to what will be asked.
            first_examples(custom["raw_examples"], "eval", config.serving.warmup_largest),
            columns,
            config.serving.warmup_rows,
            config.serving.warmup_candidates,
        ),
    )
    # The model is written: from here on nothing can be resumed.
    discard_checkpoints(job.checkpoint_dir)


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
      feature_state: Folder of the state; what is served is as of the end of all rows.
      destination: Folder to write.

    Returns:
      The names of what a request carries, see `serving.export.export`.
    """
    kept, fusion = history_of(config), config.model.fusion
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
        statistics=ServedStatistics(read_state(served_folder(feature_state))),
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


def training_fingerprint(fn_args: tfx.components.FnArgs, config: Config) -> str:
    """Names what is being trained, by what, so that only the same resumes from a checkpoint."""
    sections = config.model_dump_json(include={"tasks", "scenario", "model", "training"})
    parts = [
        fn_args.custom_config["code"],
        sections,
        fn_args.transform_output,
        *fn_args.train_files,
        *fn_args.eval_files,
    ]
    if config.serving.delta is not None:
        # Its counts are in the checkpoint, too.
        parts.append("counts updates")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
