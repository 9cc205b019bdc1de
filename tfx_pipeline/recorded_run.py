"""Where a workdir's newest run has left its config, its rows and its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tfx_pipeline.artifacts import serving_dir, split_pattern
from tfx_pipeline.config import Config
from tfx_pipeline.run_record import all_runs
from transforms.problems import InputError, Problem


@dataclass(frozen=True)
class RecordedRun:
    """A run that came as far as the gate.

    Args:
      config: What it ran.
      evaluation_rows: Glob of its evaluation examples.
      model: The SavedModel that it trained, blessed or not.
    """

    config: Config
    evaluation_rows: str
    model: str


def newest_judged(workdir: Path) -> RecordedRun:
    """The newest run of a workdir that came as far as the gate.

    Args:
      workdir: The workdir.

    Raises:
      InputError: if there is none, or its config cannot be read any more.
    """
    database = workdir / "metadata.db"
    for run in reversed(all_runs(str(database)) if database.is_file() else []):
        found = run.components
        if {"Gate", "Trainer", "LogExampleGen"} <= set(found):
            return RecordedRun(
                recorded_config(workdir, str(found["Gate"].parameters["config"])),
                split_pattern(found["LogExampleGen"].outputs["examples"], "eval"),
                serving_dir(found["Trainer"].outputs["model"]),
            )
    raise InputError(
        [Problem(str(workdir), "no finished run", "the workdir of one, such as runs/NAME")]
    )


def recorded_config(workdir: Path, text: str) -> Config:
    """The config of a run of any age.

    Args:
      workdir: Where the run was.
      text: The config as JSON.

    Raises:
      InputError: if this version cannot read it any more.
    """
    try:
        return Config.model_validate_json(text)
    except ValidationError as error:
        keys = [".".join(map(str, e["loc"])) for e in error.errors(include_url=False)]
        raise InputError(
            [
                Problem(
                    str(workdir),
                    f"a run of another version of equipoise, whose config has {', '.join(keys)}",
                    "a run of this version",
                    "Run it again.",
                )
            ]
        ) from error
