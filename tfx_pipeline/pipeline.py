"""The main job as a TFX pipeline."""

from __future__ import annotations

import os
from typing import Any

from tfx import v1 as tfx
from tfx.v1.dsl.experimental import RuntimeParameter

from tfx_pipeline.code_version import code_version
from tfx_pipeline.components.apply_transform import ApplyTransform
from tfx_pipeline.components.baseline import Baseline
from tfx_pipeline.components.frozen_graph import FrozenGraph
from tfx_pipeline.components.gate import Gate
from tfx_pipeline.components.log_example_gen import LogExampleGen
from tfx_pipeline.components.model_check import ModelCheck
from tfx_pipeline.components.parent import Parent
from tfx_pipeline.components.pusher import Pusher
from tfx_pipeline.components.record_day import RecordDay
from tfx_pipeline.components.report import Report
from tfx_pipeline.components.trainer import Trainer
from tfx_pipeline.config import Config
from tfx_pipeline.evaluation import METRICS_MODULE, eval_config
from tfx_pipeline.inputs import preprocessing_config
from tfx_pipeline.runners.beam_options import pipeline_args


def create_pipeline(
    config: Config,
    *,
    workdir: str,
    pipeline_root: str = "",
    input_fingerprint: str = "",
    known_version: int = 0,
    day: str | RuntimeParameter = "",
    data_path: str | RuntimeParameter = "",
    key: str = "",
    known_days: str = "",
    keep_copies: bool = False,
) -> tfx.dsl.Pipeline:
    """Lists what happens, in order.

    Args:
      config: The run's config.
      workdir: Folder under which everything is written.
      pipeline_root: Folder, or URI, of the artifacts, if not one in the workdir.
      input_fingerprint: Changes when any input file does, and so makes TFX's cache notice.
      known_version: Newest version in the push destination, 0 for none; likewise.
      day: The day that the run is of, YYYY-MM-DD; empty for the config's own days. With
        `config.daily.full` it begins a lineage, else it goes on from an earlier day.
      data_path: Where the logs lie, if not where `config.data.path` says.
      key: Names the run of a day, see `tfx_pipeline.daily.record`.
      known_days: Changes when what the day goes on from does; for TFX's cache.
      keep_copies: Whether the run of a day leaves in the workdir what later days need of its
        artifacts, which they do not find where this run has them.

    Returns:
      A pipeline that any TFX runner runs.
    """
    # On what it runs changes no result.
    whole = config.model_dump_json(exclude={"beam", "kubeflow"})
    push_destination = os.path.join(workdir, "serving", config.model_name)
    daily_dir = os.path.join(workdir, "daily")
    without_valid = config.data.valid is None if not day else not config.daily.full

    # What the run of a day goes on from, and the text that says which day it is.
    parent_nodes, parent, of_day = [], {}, {"day": day} if day else {}
    goes_on = day and not config.daily.full
    if day:
        found = Parent(daily_dir=daily_dir, config=whole, known=known_days, **of_day)
        parent_nodes, parent = [found], {"parent": found.outputs["parent"]}

    # Logs in: one pass over all files; duplicates and bad rows leave here.
    example_gen = LogExampleGen(
        config=config.model_dump_json(
            include={
                "data": True,
                "features": {"categorical", "numeric", "statistics", "history"},
                "scenario": True,
                "daily": {"window", "full"},
                "tasks": {"__all__": {"label", "kind", "classes", "space", "true_probability"}},
            }
        ),
        inputs=input_fingerprint,
        rejected_dir=os.path.join(workdir, "rejected"),
        days_dir=os.path.join(workdir, "days"),
        data_path=data_path,
        **of_day,
        **parent,
    )
    examples = example_gen.outputs["examples"]

    # What the data looks like, which types it has, and what is odd about it.
    statistics = tfx.components.StatisticsGen(examples=examples)
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=False
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )

    # Raw columns to the model's inputs: by a graph fitted now, or by one fitted and frozen before.
    if config.features.transform_graph is None and not goes_on:
        transform_nodes = [
            transform := tfx.components.Transform(
                examples=examples,
                schema=schema.outputs["schema"],
                preprocessing_fn="transforms.preprocessing.preprocessing_fn",
                # Half the CPU of the defaults; statistics of the raw examples exist already.
                force_tf_compat_v1=True,
                disable_statistics=True,
                disable_analyzer_cache=True,
                custom_config=preprocessing_config(config),
            )
        ]
        graph = transform.outputs["transform_graph"]
    else:
        if goes_on:
            frozen = FrozenGraph(**parent)
            graph = frozen.outputs["transform_graph"]
        else:
            frozen = tfx.dsl.Importer(
                source_uri=str(config.features.transform_graph),
                artifact_type=tfx.types.standard_artifacts.TransformGraph,
            ).with_id("FrozenGraph")
            graph = frozen.outputs["result"]
        transform = ApplyTransform(examples=examples, transform_graph=graph).with_id("Transform")
        transform_nodes = [frozen, transform]

    # Fits the model and writes it with the transform graph inside.
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=graph,
        raw_examples=examples,
        feature_state=example_gen.outputs["feature_state"],
        train_split="train",
        # Without valid days the training's own gates are looked at.
        eval_split="train" if without_valid else "valid",
        custom_config={
            "config": config.model_dump_json(include=TRAINER_SECTIONS),
            "checkpoint_root": os.path.join(workdir, "checkpoints"),
        },
        **of_day,
        **parent,
    )
    model = trainer.outputs["model"]

    # The served signature, on days that neither training nor early stopping saw.
    evaluator = tfx.components.Evaluator(
        examples=examples, model=model, eval_config=eval_config(config), example_splits=["eval"]
    )
    # The served model as a server has it: loaded by TensorFlow's C++ loader, asked, and timed.
    infra_nodes = [_infra_validator(examples, model)] if config.serving.infra_validator else []
    model_check = ModelCheck(
        examples=examples,
        model=model,
        config=whole,
        **{f"infra_{name}": found for node in infra_nodes for name, found in node.outputs.items()},
    )
    # What the candidate must not fall behind, looked up as late as can be.
    baseline = Baseline(
        push_destination=push_destination, known_version=0 if day else known_version, **parent
    )
    baseline.add_upstream_nodes([evaluator, model_check])
    # Every task x scenario cell must hold; the only writer of the blessing.
    gate = Gate(
        examples=examples,
        model=model,
        evaluation=evaluator.outputs["evaluation"],
        model_check=model_check.outputs["result"],
        baseline=baseline.outputs["baseline"],
        config=whole,
    )
    # A new version for TensorFlow Serving, if blessed.
    pusher = Pusher(
        model=model,
        blessing=gate.outputs["blessing"],
        verdict=gate.outputs["verdict"],
        model_check=model_check.outputs["result"],
        ingest_report=example_gen.outputs["ingest_report"],
        transform_graph=graph,
        push_destination=push_destination,
        config=whole,
        **of_day,
    )
    # One page for people.
    report = Report(
        ingest_report=example_gen.outputs["ingest_report"],
        statistics=statistics.outputs["statistics"],
        anomalies=validator.outputs["anomalies"],
        model_run=trainer.outputs["model_run"],
        verdict=gate.outputs["verdict"],
        pushed_model=pusher.outputs["pushed_model"],
        config=whole,
        metadata_path=os.path.join(workdir, METADATA),
        **of_day,
        **parent,
    )
    # What the next day goes on from.
    record_nodes = []
    if day:
        record = RecordDay(
            model=model,
            model_run=trainer.outputs["model_run"],
            feature_state=example_gen.outputs["feature_state"],
            transform_graph=graph,
            statistics=statistics.outputs["statistics"],
            blessing=gate.outputs["blessing"],
            pushed_model=pusher.outputs["pushed_model"],
            daily_dir=daily_dir,
            key=key,
            copies=int(keep_copies),
            config=whole,
            **of_day,
            **parent,
        )
        record.add_upstream_node(report)
        record_nodes = [record]
    components = [
        *parent_nodes,
        example_gen,
        statistics,
        schema,
        validator,
        *transform_nodes,
        trainer,
        evaluator,
        *infra_nodes,
        model_check,
        baseline,
        gate,
        pusher,
        report,
        *record_nodes,
    ]
    for component in components:
        if isinstance(component, tfx.types.BaseComponent):
            component.exec_properties["code"] = code_version(*entry_points(component))
        if isinstance(component, tfx.types.BaseBeamComponent):
            component.with_beam_pipeline_args(pipeline_args(config.beam, component.id))
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=pipeline_root or os.path.join(workdir, "pipeline"),
        components=components,
        enable_cache=True,
    )


def entry_points(component: tfx.types.BaseComponent) -> list[str]:
    """The modules whose code makes a component's result: its executor's, and what that is named."""
    executor = component.executor_spec.class_path.rpartition(".")[0]
    called = [component.exec_properties.get(name) for name in ("run_fn", "preprocessing_fn")]
    named = [function.rpartition(".")[0] for function in called if function]
    return [executor, *named, *([METRICS_MODULE] if component.id == "Evaluator" else [])]


def _infra_validator(
    examples: tfx.types.BaseChannel, model: tfx.types.BaseChannel
) -> tfx.components.InfraValidator:
    """Has the official image of TensorFlow Serving load the model, in docker on this machine."""
    return tfx.components.InfraValidator(
        model=model,
        examples=examples,
        serving_spec=tfx.proto.ServingSpec(
            tensorflow_serving=tfx.proto.TensorFlowServing(tags=[_TENSORFLOW_SERVING]),
            local_docker=tfx.proto.LocalDockerConfig(),
        ),
        request_spec=tfx.proto.RequestSpec(
            tensorflow_serving=tfx.proto.TensorFlowServingRequestSpec(), split_name="eval"
        ),
    )


PROGRAM = (__name__, "tfx_pipeline.run_fn", "transforms.preprocessing", METRICS_MODULE)
"""The entry points of all components together."""

METADATA = "metadata.db"
"""ML Metadata's SQLite file in a workdir, where the runner keeps one."""

_TENSORFLOW_SERVING = "2.16.1"
"""Tag of the image `tensorflow/serving`: the version of the locked tensorflow-serving-api."""

TRAINER_SECTIONS: dict[str, Any] = {
    **dict.fromkeys(("name", "data", "features", "scenario", "tasks", "model", "training"), True),
    "daily": {"window", "full", "epochs"},
    "serving": {
        **dict.fromkeys(
            ("item_columns", "embedding_rows", "warmup_rows", "warmup_candidates"), True
        ),
        # Whether updates are counted; which of them a delta takes is no matter of training.
        "delta": set(),
    },
}
"""What the Trainer is told of a config; a change of anything else trains nothing again."""
