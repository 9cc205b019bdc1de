"""Beam's options as its command line takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tfx_pipeline.config.beam import BeamConfig, Option, Runner

RUNNERS: Mapping[Runner, str] = {
    # Named in full: newer DirectRunners first try to download a Go binary.
    "direct": "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "portable": "PortableRunner",
}
"""Beam's names of the runners."""

DEFAULTS: Mapping[Runner, Mapping[str, Option]] = {
    "direct": {
        # Several processes cost 5 to 8 times the CPU at the size of a day's logs.
        "direct_running_mode": "in_memory",
        # No image is used; but where none is named, TFX packs itself up for workers, which takes
        # 2 seconds a component and leaves a copy in the temporary folder.
        "sdk_container_image": "unused",
    },
}
"""Options that a runner has unless the config says otherwise."""


def pipeline_args(beam: BeamConfig, component: str) -> list[str]:
    """What a component hands to Beam.

    Args:
      beam: The config's section.
      component: The component's id.
    """
    runner, options = beam.of(component)
    args = [f"--runner={RUNNERS[runner]}"]
    for name, value in {**DEFAULTS.get(runner, {}), **options}.items():
        args += option_args(name, value)
    return args


def option_args(name: str, value: Option) -> Iterator[str]:
    """One option; `false` is a flag left out."""
    if isinstance(value, bool):
        if value:
            yield f"--{name}"
    elif isinstance(value, list):
        for item in value:
            yield f"--{name}={item}"
    else:
        yield f"--{name}={json.dumps(value) if isinstance(value, dict) else value}"


LOCAL = pipeline_args(BeamConfig(), "")
"""What a component hands to Beam unless the config says otherwise."""
