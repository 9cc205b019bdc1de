"""The project's transform graph and model, on a few rows: what is exported, loaded and served."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import serving  # noqa: F401  (settles the Keras version before TensorFlow is imported)

CATEGORICAL = ["user_id", "item_id"]
NUMERIC = ["duration_s"]
FEATURES = [*CATEGORICAL, *NUMERIC, "tab"]
SCENARIOS = ["feed", "search", "other"]
TASKS = ["like", "click"]
ROWS = 300


@pytest.fixture(autouse=True, scope="session")
def loopback_without_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_grpc_proxy", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def log_rows() -> list[dict[str, Any]]:
    """Rows as a caller of the server has them; a feature that is None is missing."""
    draw = random.Random(7)
    return [
        {
            "user_id": f"u{draw.randrange(40)}" if draw.random() > 0.1 else None,
            "item_id": f"i{draw.randrange(90)}".encode(),
            "duration_s": draw.lognormvariate(3, 1) if draw.random() > 0.1 else None,
            "tab": draw.choice(["feed", "search", "a tab of tomorrow"]),
        }
        for _ in range(ROWS)
    ]


@pytest.fixture(scope="session")
def as_examples() -> Callable[[Sequence[dict[str, Any]]], list[bytes]]:
    """Serializes rows with TensorFlow's own protos."""
    import tensorflow as tf

    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        text = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))

    def serialize(rows: Sequence[dict[str, Any]]) -> list[bytes]:
        return [
            tf.train.Example(
                features=tf.train.Features(
                    feature={k: feature(v) for k, v in row.items() if v is not None}
                )
            ).SerializeToString()
            for row in rows
        ]

    return serialize


@pytest.fixture(scope="session")
def transform_output(
    log_rows: list[dict[str, Any]], as_examples: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The project's transform graph, fitted on the rows with a label a task."""
    labelled = [
        {**row, "like": n % 2, "click": int(n % 3 == 0), "_day": 1}
        for n, row in enumerate(log_rows)
    ]
    folder = tmp_path_factory.mktemp("transform")
    return fit_transform(folder, as_examples(labelled), CATEGORICAL, NUMERIC)


def fit_transform(
    folder: Path, labelled: Sequence[bytes], categorical: Sequence[str], numeric: Sequence[str]
) -> Any:
    """A transform graph of these features, fitted on examples that hold labels and `_day` too."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.public import tfxio

    from transforms.preprocessing import preprocessing_fn

    types = dict.fromkeys([*categorical, "tab"], tf.string)
    types |= dict.fromkeys(numeric, tf.float32) | dict.fromkeys([*TASKS, "_day"], tf.int64)
    spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in types.items()}
    schema = schema_utils.schema_from_feature_spec(spec)
    reader = tfxio.TFExampleBeamRecord("tests", schema=schema)
    config = {
        "categorical": categorical,
        "numeric": numeric,
        "num_buckets": 4,
        "scenario_column": "tab",
        "day_column": "_day",
        "scenarios": SCENARIOS,
        "tasks": TASKS,
    }
    with (
        beam.Pipeline(runner=fn_runner.FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "tmp"), force_tf_compat_v1=True),
    ):
        batches = pipeline | beam.Create(labelled) | reader.BeamSource()
        fitted = (batches, reader.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        fitted | tft_beam.WriteTransformFn(str(folder / "output"))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR),
    )
    return tft.TFTransformOutput(str(folder / "output"))


@pytest.fixture(scope="session")
def dense_transform(transform_output: Any) -> Any:
    """The transform graph on matrices."""
    from transforms.dense_transform import DenseTransform

    return DenseTransform(transform_output.transform_savedmodel_dir)


@pytest.fixture(scope="session")
def parse_rows(transform_output: Any, as_examples: Any) -> Callable[..., dict[str, Any]]:
    """Rows to the model's inputs, as for training."""
    import tensorflow as tf

    spec = {name: transform_output.raw_feature_spec()[name] for name in FEATURES}
    transform = transform_output.transform_features_layer()

    def parse(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        inputs = transform(tf.io.parse_example(as_examples(rows), spec))
        return {name: inputs[name] for name in ("keys", "numbers", "scenario")}

    return parse


@pytest.fixture(scope="session")
def ranker(parse_rows: Any, log_rows: Any) -> Any:
    """A model with random weights, whose table holds the keys of the first half of the rows."""
    import tensorflow as tf

    from keras_models.backbones.ple import Ple
    from keras_models.embeddings import DynamicEmbedding, DynamicEmbeddingConfig, MinCount, Policy
    from keras_models.model import RankingModel

    config = DynamicEmbeddingConfig(
        fields=(*CATEGORICAL, *NUMERIC), dim=8, capacity=1024, policy=Policy(admission=MinCount(1))
    )
    tf.keras.utils.set_random_seed(3)
    model = RankingModel(
        tasks=TASKS,
        num_numbers=2 * len(NUMERIC),
        num_scenarios=len(SCENARIOS),
        backbone=Ple(len(TASKS), levels=1, expert_units=[8]),
        tower_units=[4],
        embedding=DynamicEmbedding(config),
    )
    model.embedding.train_lookup(parse_rows(log_rows[: ROWS // 2])["keys"])
    records = model.embedding.tables[0].records
    records.assign(tf.random.normal(records.shape, stddev=3))
    return model


@pytest.fixture(scope="session")
def exported(
    ranker: Any,
    transform_output: Any,
    dense_transform: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The SavedModel of the ranker behind the transform graph."""
    from serving.export import export

    folder = tmp_path_factory.mktemp("exported") / "model"
    export(
        ranker,
        transform_output,
        FEATURES,
        TASKS,
        str(folder),
        binary_tasks=TASKS,
        items=["item_id", "duration_s"],
        dense_transform=dense_transform,
        scenarios=SCENARIOS,
    )
    return folder


@pytest.fixture(scope="session")
def write_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Writes small SavedModels: click = sigmoid(age + bias), like = sigmoid(bias)."""
    import tensorflow as tf

    from serving.request_layout import RequestLayout
    from serving.signatures import ExampleSignatures

    class Toy(ExampleSignatures):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, name="wide"),
                tf.TensorSpec([], tf.int64, name="scale"),
            ]
        )
        def scaled(self, wide: tf.Tensor, scale: tf.Tensor) -> dict[str, tf.Tensor]:
            times = tf.cast(scale, tf.float32)
            return {
                "scaled": wide * times,
                "echo": scale,
                "text": tf.strings.as_string(scale),
                "is_large": wide > 9,
                "half": tf.cast(wide, tf.float16),
            }

    def transform(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        empty = tf.zeros([tf.size(raw["age"])], tf.int64)
        return {"keys": empty[:, None], "numbers": raw["age"][:, None], "scenario": empty}

    def write(bias: float) -> Path:
        shift = tf.Variable(bias)
        toy = Toy(
            transform,
            RequestLayout(
                {
                    "age": tf.io.FixedLenFeature([], tf.float32, 0.0),
                    "tab": tf.io.FixedLenFeature([], tf.string, ""),
                }
            ),
            lambda inputs: {
                "click": tf.sigmoid(inputs["numbers"][:, 0] + shift),
                "like": tf.sigmoid(0.0 * inputs["numbers"][:, 0] + shift),
            },
            ["click", "like"],
        )
        toy.shift = shift
        folder = tmp_path_factory.mktemp("toy") / "model"
        tf.saved_model.save(toy, str(folder), signatures={**toy.signatures(), "scaled": toy.scaled})
        return folder

    return write


@pytest.fixture(scope="session")
def toys(write_toy: Any) -> list[Path]:
    """Toys with the biases 0, 1 and 2."""
    return [write_toy(float(bias)) for bias in range(3)]
