"""What `serving` must fit in the rest of a config."""

from __future__ import annotations

import shutil

from tfx_pipeline.config.job import Config
from transforms.problems import Problem


def check_serving(config: Config) -> list[Problem]:
    """Items' columns that are none, and a validator that cannot run."""
    features = [*config.features.categorical, *config.features.numeric]
    of_user = {config.data.user: "the user", config.scenario.column: "the scenario"}
    may_be = [name for name in features if name not in of_user]
    problems = []
    for name in sorted(set(config.serving.item_columns)):
        if name in of_user:
            found = f"`{name}`, which is {of_user[name]}: the same for all candidates"
        elif name not in features:
            found = f"`{name}`, which is no column of `features`"
        else:
            continue
        problems.append(
            Problem(
                "serving.item_columns", found, f"columns of the candidates: {', '.join(may_be)}"
            )
        )
    if config.serving.infra_validator and shutil.which("docker") is None:
        problems.append(
            Problem(
                "serving.infra_validator",
                "true, and no `docker` on this machine",
                "docker, which runs the official image of TensorFlow Serving",
                "Install docker, or leave the key out: ModelCheck loads the model with TensorFlow "
                "Serving's C++ code either way.",
            )
        )
    return problems
