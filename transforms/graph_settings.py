"""What a transform graph was fitted for, written in the graph itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SCOPE = "transform/"
"""In which tf.Transform calls a preprocessing function."""

_NAME = "settings"


def write_settings(settings: Mapping[str, Any]) -> None:
    """Adds a constant that holds the settings to the graph that is being made.

    Args:
      settings: What can be written as JSON.
    """
    tf.constant(json.dumps(settings, sort_keys=True), name=_NAME)


def read_settings(path: str) -> dict[str, Any]:
    """The settings of a graph; sequences are lists.

    Args:
      path: Folder of the graph's SavedModel, `TFTransformOutput.transform_savedmodel_dir`.

    Raises:
      ValueError: if the graph was not made by `transforms.preprocessing` of this version.
    """
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    for node in saved_model.meta_graphs[0].graph_def.node:
        if node.name == SCOPE + _NAME:
            settings: dict[str, Any] = json.loads(tf.make_ndarray(node.attr["value"].tensor).item())
            return settings
    raise ValueError(
        f"{path}: found no constant {SCOPE}{_NAME}; expected a transform graph that this version "
        "fitted. Fit it again."
    )
