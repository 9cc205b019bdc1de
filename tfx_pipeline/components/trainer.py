"""TFX's Trainer, with what a training of ours reads besides transformed examples."""

from __future__ import annotations

import json
from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base import executor_spec
from tfx.types import component_spec
from tfx.v1.types.standard_artifacts import Examples, Model, ModelRun

from tfx_pipeline.artifacts import FeatureState, ParentPointer

_STOCK = tfx.components.Trainer.SPEC_CLASS
_MORE = ("raw_examples", "feature_state", "parent")


class TrainerSpec(component_spec.ComponentSpec):
    """TFX's, with three more inputs, and the day as a parameter of its own.

    As a parameter it can be given when the pipeline is run; inside of `custom_config`, one text,
    it could not.
    """

    PARAMETERS = {
        **_STOCK.PARAMETERS,
        "day": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        **_STOCK.INPUTS,
        "raw_examples": component_spec.ChannelParameter(type=Examples),
        "feature_state": component_spec.ChannelParameter(type=FeatureState),
        "parent": component_spec.ChannelParameter(type=ParentPointer, optional=True),
    }
    OUTPUTS = _STOCK.OUTPUTS


class TrainerExecutor(tfx.components.Trainer.EXECUTOR_SPEC.executor_class):
    """TFX's, which tells `run_fn` in `custom_config` of the further inputs and parameters."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[tfx.dsl.Artifact]],
        output_dict: dict[str, list[tfx.dsl.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains.

        Args:
          input_dict: The inputs by name.
          output_dict: The outputs by name.
          exec_properties: The parameters; of `custom_config` more is made.
        """
        more = {name: input_dict[name][0].uri for name in _MORE if input_dict.get(name)}
        custom = {**json.loads(exec_properties["custom_config"]), **more}
        custom["day"] = exec_properties.get("day") or ""
        custom["code"] = exec_properties["code"]
        super().Do(
            input_dict, output_dict, {**exec_properties, "custom_config": json.dumps(custom)}
        )


class Trainer(tfx.types.BaseComponent):
    """Runs `tfx_pipeline.run_fn.run_fn` as TFX's Trainer would.

    Args:
      examples: Transformed examples.
      transform_graph: The graph that transformed them.
      raw_examples: Examples as they were before; some become the warm-up requests.
      feature_state: Its statistics as of the end of the last day read are served.
      train_split: Split to fit.
      eval_split: Split that stops the training early, if there are valid days, and whose gates are
        looked at.
      custom_config: What `run_fn` is told, in values of JSON.
      day: The day that the run is of, YYYY-MM-DD, or a runtime parameter; empty for the config's
        own days.
      parent: What the day goes on from.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        *,
        examples: tfx.types.BaseChannel,
        transform_graph: tfx.types.BaseChannel,
        raw_examples: tfx.types.BaseChannel,
        feature_state: tfx.types.BaseChannel,
        train_split: str,
        eval_split: str,
        custom_config: dict[str, Any],
        day: Any = "",
        parent: tfx.types.BaseChannel | None = None,
    ):
        super().__init__(
            spec=TrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                raw_examples=raw_examples,
                feature_state=feature_state,
                parent=parent,
                run_fn="tfx_pipeline.run_fn.run_fn",
                train_args=tfx.proto.TrainArgs(splits=[train_split]),
                eval_args=tfx.proto.EvalArgs(splits=[eval_split]),
                custom_config=json.dumps(custom_config),
                day=day,
                model=tfx.dsl.Channel(type=Model),
                model_run=tfx.dsl.Channel(type=ModelRun),
            )
        )
