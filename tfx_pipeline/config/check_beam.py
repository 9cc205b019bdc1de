"""What the names in `beam` say at once; `runners.beam_problems` asks Beam for the rest."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.beam import BEAM_COMPONENTS
from tfx_pipeline.config.job import Config
from transforms.problems import Problem


def check_beam(config: Config) -> Iterator[Problem]:
    """Components that do not run on Beam, and options that are no options."""
    sections = {"beam.options": config.beam.options}
    for name, component in config.beam.components.items():
        if name not in BEAM_COMPONENTS:
            yield Problem(
                f"beam.components.{name}",
                f"`{name}`",
                f"the id of a component that runs on Beam: {', '.join(BEAM_COMPONENTS)}",
            )
        sections[f"beam.components.{name}.options"] = component.options
    for where, options in sections.items():
        for option in options:
            if option == "runner":
                key = where.removesuffix("options") + "runner"
                yield Problem(f"{where}.runner", "the runner among the options", f"it as {key}")
            elif option.startswith("-"):
                yield Problem(
                    f"{where}.{option}", f"`{option}`", "an option's name without its dashes"
                )
