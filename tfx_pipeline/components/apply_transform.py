"""Applies a transform graph that was fitted and frozen earlier."""

import json
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import TFTransformOutput
from tfx import v1 as tfx
from tfx.v1.dsl.components import BeamComponentParameter, InputArtifact, OutputArtifact
from tfx.v1.dsl.io import fileio
from tfx.v1.types.standard_artifacts import Examples, TransformGraph
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public import tfxio

from tfx_pipeline.artifacts import split_pattern


@tfx.dsl.components.component(use_beam=True)
def ApplyTransform(  # noqa: N802 - components are named like TFX's own
    examples: InputArtifact[Examples],
    transform_graph: InputArtifact[TransformGraph],
    transformed_examples: OutputArtifact[Examples],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Transforms every split, as Transform would, without an analysis pass.

    Bucket 7 must mean today what its embedding learned on the day the graph was fitted.

    Args:
      examples: Raw examples.
      transform_graph: The frozen graph.
      transformed_examples: Gets the same splits.
      beam_pipeline: Given by TFX.
    """
    graph = TFTransformOutput(transform_graph.uri)
    transformed_examples.split_names = examples.split_names
    encoder = beam.ParDo(_Encode(graph.transformed_metadata.schema))
    with beam_pipeline as p, tft_beam.Context(force_tf_compat_v1=True):
        transform_fn = p | tft_beam.ReadTransformFn(transform_graph.uri)
        for split in json.loads(examples.split_names):
            source = tfxio.TFExampleRecord(
                file_pattern=split_pattern(examples.uri, split),
                schema=graph.raw_metadata.schema,
                telemetry_descriptors=["ApplyTransform"],
            )
            raw = p | f"Read[{split}]" >> source.BeamSource()
            transformed, _ = (
                (raw, source.TensorAdapterConfig()),
                transform_fn,
            ) | f"Transform[{split}]" >> tft_beam.TransformDataset(output_record_batches=True)
            (
                transformed
                | f"Encode[{split}]" >> encoder
                | f"Write[{split}]"
                >> beam.io.WriteToTFRecord(
                    split_pattern(transformed_examples.uri, split).replace(
                        "*", "transformed_examples"
                    ),
                    file_name_suffix=".gz",
                )
            )
    for split in json.loads(examples.split_names):
        # Where Beam starts to write twice, as it may, it leaves an empty folder among the files.
        pattern = split_pattern(transformed_examples.uri, split).replace("*", "beam-temp-*")
        for leftover in fileio.glob(pattern):
            fileio.rmtree(leftover)


class _Encode(beam.DoFn):
    """(Arrow batch, pass-through columns) to serialized tf.Examples."""

    def __init__(self, schema: schema_pb2.Schema):
        self._schema = schema

    def setup(self) -> None:
        # The encoder wraps a C++ object, which cannot be pickled.
        self._encoder = RecordBatchToExamplesEncoder(self._schema)

    def process(self, element: tuple[pa.RecordBatch, dict[str, pa.Array]]) -> Iterator[bytes]:
        yield from self._encoder.encode(element[0])
