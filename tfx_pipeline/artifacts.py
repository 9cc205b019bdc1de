"""Artifact types of our own, and where things lie inside TFX's."""

from __future__ import annotations

import os

from tfx import v1 as tfx


class BaselinePointer(tfx.dsl.Artifact):
    """Where the last pushed version lies: `baseline.json` with `version` and `path`, or nulls."""

    TYPE_NAME = "BaselinePointer"


class GateVerdict(tfx.dsl.Artifact):
    """`verdict.json`: every cell's metrics, what failed, what was not judged, and why."""

    TYPE_NAME = "GateVerdict"


def serving_dir(model_uri: str) -> str:
    """The SavedModel inside a Model artifact."""
    return os.path.join(model_uri, "Format-Serving")


def split_pattern(examples_uri: str, split: str) -> str:
    """Glob of the files of one split of an Examples artifact."""
    return os.path.join(examples_uri, f"Split-{split}", "*")
