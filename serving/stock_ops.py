"""Which ops a SavedModel consists of."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.versions import SAVED_MODEL


def read_graph(model_dir: str | Path) -> GraphDef:
    """The graph of a SavedModel, which need not be one that loads.

    Args:
      model_dir: Its folder.

    Raises:
      google.protobuf.message.DecodeError: if the file is none of a SavedModel.
      OSError: if there is none.
    """
    saved = SavedModel.FromString(Path(model_dir, SAVED_MODEL).read_bytes())
    return saved.meta_graphs[0].graph_def


def graph_ops(graph: GraphDef) -> set[str]:
    """Ops of a graph and of its functions; a call of one of these is no op."""
    nodes = (graph.node, *(function.node_def for function in graph.library.function))
    functions = {function.signature.name for function in graph.library.function}
    return {node.op for group in nodes for node in group} - functions


def foreign_ops(graph: GraphDef) -> set[str]:
    """Those among them that TensorFlow's wheel does not bring.

    `tf.raw_ops` is written when TensorFlow is built, so libraries loaded since are not in it.
    """
    return {op for op in graph_ops(graph) if not hasattr(tf.raw_ops, op)}
