"""Whether a candidate can be served."""

# TFX reads the annotations of a component function as objects, not as texts: no
# `from __future__ import annotations` here.

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.types.standard_artifacts import Examples, InfraBlessing, Model

from tfx_pipeline.artifacts import ModelCheckResult, first_examples, serving_dir, write_json
from tfx_pipeline.config import Config
from tfx_pipeline.model_check.check import check_candidate


@tfx.dsl.components.component
def ModelCheck(  # noqa: N802 - components are named like TFX's own
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    result: OutputArtifact[ModelCheckResult],
    config: Parameter[str],
    infra_blessing: InputArtifact[InfraBlessing] = None,
) -> None:
    """Loads the candidate in a fresh process through TensorFlow's C++ loader, and asks it.

    What it finds against the candidate makes the Gate refuse it; see docs/reference/model-check.md.

    Args:
      examples: On rows of its `eval` split all signatures must give the same numbers.
      model: The candidate.
      result: `model_check.json`.
      config: The run's config, as JSON.
      infra_blessing: What TFX's InfraValidator found, where it runs.
    """
    settings = Config.model_validate_json(config)
    rows = first_examples(examples.uri, "eval", settings.model_check.rows)
    served = infra_blessing and infra_blessing.get_int_custom_property("blessed") == 1
    found = check_candidate(serving_dir(model.uri), rows, settings, served)
    write_json(result.uri, "model_check.json", found)
