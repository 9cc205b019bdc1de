"""Whether a transform graph that was frozen earlier gives what a config needs today."""

from __future__ import annotations

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import preprocessing_config
from tfx_pipeline.same_meaning import differences
from transforms.problems import Problem

_REMEDY = (
    "Change the config back, or leave `features.transform_graph` out to fit a new one, which "
    "starts from cold weights (in a daily job, `run --day DAY --full`)."
)


def frozen_graph_problems(config: Config) -> list[Problem]:
    """What differs in `features.transform_graph` from the config; nothing where none is named.

    Columns of its matrices stand for features, tasks and scenarios by their order alone, so all
    that it was fitted for must be the same.
    """
    graph = config.features.transform_graph
    return [] if graph is None else graph_problems(str(graph), config)


def graph_problems(graph: str, config: Config) -> list[Problem]:
    """What differs in a transform graph, by its folder, from the config."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from transforms.graph_settings import read_settings

    where = f"transform graph {graph}"
    try:
        settings = read_settings(tft.TFTransformOutput(graph).transform_savedmodel_dir)
    except (ValueError, tf.errors.OpError) as error:
        lies = "They lie in the workdir, under pipeline/Transform/transform_graph."
        return [Problem(where, str(error), "a graph that this version fitted", f"{lies} {_REMEDY}")]
    return differences(where, settings, preprocessing_config(config), _REMEDY)
