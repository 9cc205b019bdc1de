"""Decides whether a candidate may be pushed."""

# TFX reads the annotations of a component function as objects, not as texts: no
# `from __future__ import annotations` here.

import os

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation

from tfx_pipeline.artifacts import (
    BaselinePointer,
    GateVerdict,
    ModelCheckResult,
    read_json,
    serving_dir,
    split_pattern,
    write_json,
)
from tfx_pipeline.config import Config
from tfx_pipeline.gate.judge_model import judge_model
from tfx_pipeline.gate.own_features import SCORES


@tfx.dsl.components.component
def Gate(  # noqa: N802 - components are named like TFX's own
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    evaluation: InputArtifact[ModelEvaluation],
    model_check: InputArtifact[ModelCheckResult],
    baseline: InputArtifact[BaselinePointer],
    blessing: OutputArtifact[ModelBlessing],
    verdict: OutputArtifact[GateVerdict],
    config: Parameter[str],
) -> None:
    """Judges every task x scenario cell; the only writer of the blessing.

    One cell beyond its thresholds, or below the last pushed version by more than its tolerance,
    blocks the push, whatever the mean did, if it is so by more than the noise.

    Args:
      examples: On its `eval` split candidate and last pushed version are scored.
      model: The candidate.
      evaluation: The Evaluator's metrics of the candidate.
      model_check: Whether the candidate can be served; a failed check blocks the push.
      baseline: The last pushed version, if there is one, and what its card knows of those before.
      blessing: Written for the Pusher.
      verdict: `verdict.json`, for people and for `summary.json`, `curves.json`, for plots, and
        `scores.npz`, for later runs.
      config: The run's config, as JSON.

    Raises:
      InputError: if the evaluation, or the last pushed version, cannot be read.
    """
    settings = Config.model_validate_json(config)
    found, curves = judge_model(
        settings,
        examples=split_pattern(examples.uri, "eval"),
        model=serving_dir(model.uri),
        evaluation=evaluation.uri,
        model_check=read_json(model_check.uri, "model_check.json"),
        pushed=read_json(baseline.uri, "baseline.json"),
        scores=os.path.join(verdict.uri, SCORES),
    )
    write_json(verdict.uri, "verdict.json", {**found, "candidate": model.uri})
    write_json(verdict.uri, "curves.json", curves)
    blessing.set_int_custom_property("blessed", int(found["blessed"]))
    blessing.set_string_custom_property("current_model", model.uri)
    with tfx.dsl.io.fileio.open(
        os.path.join(blessing.uri, "BLESSED" if found["blessed"] else "NOT_BLESSED"), "w"
    ) as f:
        f.write("")
