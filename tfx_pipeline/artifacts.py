"""Artifact types of our own, and where things lie inside TFX's.

On Kubeflow a type is known by its name alone, which has to be the path that it is imported by, with
one dot: `tfx_pipeline` gives these classes.
"""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf
from tfx import v1 as tfx
from tfx.v1.dsl.io import fileio


class BaselinePointer(tfx.dsl.Artifact):
    """What a candidate is compared with: `baseline.json`, see `components.baseline`."""

    TYPE_NAME = "tfx_pipeline.BaselinePointer"


class ParentPointer(tfx.dsl.Artifact):
    """What the run of a day goes on from: `ancestors.json`, see `tfx_pipeline.daily.ancestors`."""

    TYPE_NAME = "tfx_pipeline.ParentPointer"
    FILE = "ancestors.json"


class FeatureState(tfx.dsl.Artifact):
    """What later days and the server need of all days up to one: see `transforms.feature_state`."""

    TYPE_NAME = "tfx_pipeline.FeatureState"


class IngestReport(tfx.dsl.Artifact):
    """`counts.json`, and the rows that could not be used under `rejected/`."""

    TYPE_NAME = "tfx_pipeline.IngestReport"


class HtmlReport(tfx.dsl.Artifact):
    """`index.html`, which needs no other file."""

    TYPE_NAME = "tfx_pipeline.HtmlReport"


class ModelCheckResult(tfx.dsl.Artifact):
    """`model_check.json`: whether the model answers as it should where it is served, and costs."""

    TYPE_NAME = "tfx_pipeline.ModelCheckResult"


class GateVerdict(tfx.dsl.Artifact):
    """`verdict.json`: every cell's metrics, what failed, what was not judged, and why."""

    TYPE_NAME = "tfx_pipeline.GateVerdict"
    FORMAT = 3  # Of the file; one without a `format` is older.


def serving_dir(model_uri: str) -> str:
    """The SavedModel inside a Model artifact."""
    return os.path.join(model_uri, "Format-Serving")


def split_pattern(examples_uri: str, split: str) -> str:
    """Glob of the files of one split of an Examples artifact."""
    return os.path.join(examples_uri, f"Split-{split}", "*")


def first_examples(examples_uri: str, split: str, count: int) -> list[bytes]:
    """The first rows of a split, at most `count`, as serialized tf.Examples."""
    files = sorted(tf.io.gfile.glob(split_pattern(examples_uri, split)))
    rows = tf.data.TFRecordDataset(files, "GZIP").take(count)
    return list(rows.as_numpy_iterator())


def read_json(uri: str, name: str) -> Any:
    """Reads one JSON file of an artifact."""
    with fileio.open(os.path.join(uri, name)) as f:
        return json.loads(f.read())


def write_json(uri: str, name: str, value: Any) -> None:
    """Writes one JSON file into an artifact."""
    write_text(uri, name, json.dumps(value, allow_nan=False))


def write_text(uri: str, name: str, text: str) -> None:
    """Writes one file into an artifact."""
    with fileio.open(os.path.join(uri, name), "w") as f:
        f.write(text)


def copy_folder(source: str, destination: str) -> None:
    """Copies a folder with all that is below it.

    Args:
      source: Folder or URI.
      destination: Folder or URI; files that are there already are replaced.
    """
    for folder, _, names in fileio.walk(source):
        target = os.path.join(destination, os.path.relpath(folder, source))
        fileio.makedirs(target)
        for name in names:
            fileio.copy(os.path.join(folder, name), os.path.join(target, name), overwrite=True)


def publish(source: str, destination: str) -> None:
    """Copies a flat folder beside its place, then swaps it in, so that nobody sees half of it.

    Args:
      source: Folder or URI; counts as empty if it does not exist.
      destination: Folder or URI; replaced.
    """
    place = destination.rstrip("/")
    draft, old = f"{place}.new", f"{place}.old"
    for leftover in (draft, old):
        if fileio.exists(leftover):
            fileio.rmtree(leftover)
    fileio.makedirs(draft)
    for name in fileio.listdir(source) if fileio.exists(source) else []:
        fileio.copy(os.path.join(source, name), os.path.join(draft, name))
    if fileio.exists(place):
        fileio.rename(place, old)
    fileio.rename(draft, place)
    if fileio.exists(old):
        fileio.rmtree(old)
