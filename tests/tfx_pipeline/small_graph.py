"""Examples of one split and a transform graph fitted to them, in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx import v1 as tfx

from tfx_pipeline.runners.beam_options import LOCAL

ROWS = 60


def write_graph(folder: Path) -> dict[str, Any]:
    """What ApplyTransform takes: artifacts of `examples` and of the `transform_graph`."""
    rows = [{"x": [float(i)], "tab": [b"ab"[i % 2 : i % 2 + 1]]} for i in range(ROWS)]
    split = folder / "examples" / "Split-train"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "data-0.gz"), "GZIP") as out:
        for row in rows:
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.extend(row["x"])
            example.features.feature["tab"].bytes_list.value.extend(row["tab"])
            out.write(example.SerializeToString())
    spec = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "tab": tf.io.FixedLenFeature([1], tf.string),
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    graph = folder / "graph"
    with (
        tft_beam.Context(temp_dir=str(folder / "fit"), force_tf_compat_v1=True),
        beam.Pipeline(argv=LOCAL) as pipeline,
    ):
        fitted = (pipeline | beam.Create(rows), metadata) | tft_beam.AnalyzeDataset(_transform)
        fitted | tft_beam.WriteTransformFn(str(graph))
    metadata_io.write_metadata(metadata, str(graph / tft.TFTransformOutput.RAW_METADATA_DIR))
    examples = tfx.types.standard_artifacts.Examples()
    examples.uri, examples.splits = str(folder / "examples"), ["train"]
    transform_graph = tfx.types.standard_artifacts.TransformGraph()
    transform_graph.uri = str(graph)
    return {"examples": examples, "transform_graph": transform_graph}


def _transform(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"scaled": tft.scale_to_0_1(inputs["x"]), "tab": tf.identity(inputs["tab"])}
