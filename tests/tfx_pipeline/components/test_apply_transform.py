"""ApplyTransform gives the same rows, whatever a runner does with its bundles."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.internal import pickler
from tensorflow_transform import TFTransformOutput
from tfx import v1 as tfx

from tfx_pipeline.components.apply_transform import ApplyTransform, _Encode
from tfx_pipeline.runners.beam_options import LOCAL

from ...transforms.random_bundles import RandomBundles
from ..small_graph import ROWS, write_graph


def _run(inputs: dict[str, Any], out: Path, pipeline: beam.Pipeline) -> list[bytes]:
    """The rows that were written, sorted: how a runner spreads them over files is its own."""
    transformed = tfx.types.standard_artifacts.Examples()
    transformed.uri = str(out)
    ApplyTransform.test_call(**inputs, transformed_examples=transformed, beam_pipeline=pipeline)
    assert transformed.split_names == inputs["examples"].split_names
    assert {path.name for path in out.iterdir()} == {"Split-train"}
    files = [str(path) for path in (out / "Split-train").iterdir()]
    records = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    return sorted(
        tf.train.Example.FromString(record).SerializeToString(deterministic=True)
        for record in records
    )


@pytest.mark.e2e
def test_bundles_split_and_retried_at_random_change_nothing(tmp_path: Path) -> None:
    inputs = write_graph(tmp_path)
    undisturbed = _run(inputs, tmp_path / "undisturbed", beam.Pipeline(argv=LOCAL))
    examples = [tf.train.Example.FromString(record) for record in undisturbed]
    scaled = sorted(example.features.feature["scaled"].float_list.value[0] for example in examples)
    assert scaled == pytest.approx([i / (ROWS - 1) for i in range(ROWS)])
    for seed in (1, 2):
        pipeline = beam.Pipeline(runner=RandomBundles(seed, 3))
        assert _run(inputs, tmp_path / str(seed), pipeline) == undisturbed


def test_the_encoder_can_be_sent_to_workers(tmp_path: Path) -> None:
    graph = TFTransformOutput(write_graph(tmp_path)["transform_graph"].uri)
    encode = _Encode(graph.transformed_metadata.schema)
    for module in (pickle, pickler):
        assert module.loads(module.dumps(encode))._schema == encode._schema
