"""What Beam runs the heavy components on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tfx_pipeline.config.section import Section

BEAM_COMPONENTS = ("LogExampleGen", "StatisticsGen", "Transform", "Evaluator")
"""Ids of the components that run on Beam."""

Option = bool | int | float | str | list[str | int] | dict[str, str | int | float | bool]


def _not_dask(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in ("dask", "daskrunner"):
        raise ValueError(
            f"{value}, which leaves out what a DoFn gives at the end of a bundle, and so loses "
            "rows without an error"
        )
    return value


Runner = Annotated[
    Literal["direct", "dataflow", "flink", "spark", "portable"], BeforeValidator(_not_dask)
]


class BeamComponentConfig(Section):
    """What one component has of its own."""

    runner: Runner | None = Field(
        None,
        description="Its runner, where that is not `beam.runner`; of the options it then takes its "
        "own alone.",
    )
    options: dict[str, Option] = Field(
        default_factory=dict, description="Its options, over those of `beam.options`."
    )


class BeamConfig(Section):
    """What Beam runs the heavy components on."""

    runner: Runner = Field(
        "direct",
        description="`direct` is Beam's FnApiRunner in this process; `portable` any job server, "
        "which `job_endpoint` among the options names. The others: docs/how-to, a page each.",
    )
    options: dict[str, Option] = Field(
        default_factory=dict,
        description="Beam's options by name, without dashes. A flag is `true`; one that may be "
        "given several times takes a list.",
    )
    components: dict[str, BeamComponentConfig] = Field(
        default_factory=dict,
        description=f"Components that differ, by id: {', '.join(BEAM_COMPONENTS)}.",
    )

    def of(self, component: str) -> tuple[Runner, Mapping[str, Option]]:
        """The runner of a component, and its options."""
        own = self.components.get(component, BeamComponentConfig())
        if own.runner is not None:
            return own.runner, own.options
        return self.runner, {**self.options, **own.options}
