from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from tfx_pipeline.config import load_config
from tfx_pipeline.frozen_graph import frozen_graph_problems
from transforms.dense_transform import (
    HAS_NUMBER,
    NUMBER_NAMES,
    NUMBERS,
    SCENARIO_NAME,
    SCENARIO_TEXTS,
    TEXT_KEYS,
    TEXT_NAMES,
)

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """What a graph that was fitted for the simulated config says of itself."""
    config = load_config(CONFIG)
    columns = [*config.features.fields, config.scenario.column, *config.tasks]
    raw: dict[str, Any] = {name: tf.io.VarLenFeature(tf.string) for name in columns}
    widths = {"keys": len(config.features.fields), "labels": len(config.tasks)}
    widths["numbers"] = 2 * len(config.features.numbers)
    given = {name: tf.io.FixedLenFeature([n], tf.float32) for name, n in widths.items()}
    for folder, spec in (
        (tft.TFTransformOutput.RAW_METADATA_DIR, raw),
        (tft.TFTransformOutput.TRANSFORMED_METADATA_DIR, given),
    ):
        metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
        metadata_io.write_metadata(metadata, str(tmp_path / folder))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session, tf.name_scope("transform"):
        for name, features in (
            (TEXT_NAMES, config.features.categorical),
            (NUMBER_NAMES, config.features.numbers),
            (SCENARIO_NAME, [config.scenario.column]),
        ):
            tf.constant(features, name=name)
        matrices = {TEXT_KEYS: tf.int64, NUMBERS: tf.float32, HAS_NUMBER: tf.bool}
        for name, dtype in matrices.items():
            tf.compat.v1.placeholder(dtype, [None, None], name)
        scenario = tf.compat.v1.placeholder(tf.string, [None], SCENARIO_TEXTS)
        outputs = {name: tf.identity(scenario) for name in ("keys", "numbers", "scenario")}
        folder = str(tmp_path / tft.TFTransformOutput.TRANSFORM_FN_DIR)
        builder = tf.compat.v1.saved_model.Builder(folder)
        signature = tf.compat.v1.saved_model.predict_signature_def({"tab": scenario}, outputs)
        builder.add_meta_graph_and_variables(session, ["serve"], {"transform_signature": signature})
        builder.save()
    return tmp_path


def problems(graph: Path, *sets: str) -> str:
    config = load_config(CONFIG, [f"features.transform_graph={graph}", *sets])
    return "\n".join(map(str, frozen_graph_problems(config)))


def test_the_config_it_was_fitted_for(graph: Path) -> None:
    assert problems(graph) == ""
    assert frozen_graph_problems(load_config(CONFIG)) == []


def test_a_folder_that_holds_no_graph(tmp_path: Path) -> None:
    settings = load_config(CONFIG, [f"features.transform_graph={tmp_path}"])
    (problem,) = frozen_graph_problems(settings)
    assert problem.where == f"features.transform_graph {tmp_path}"
    assert problem.expected == "a transform graph of an earlier run"


def test_a_feature_that_came_later(graph: Path) -> None:
    found = problems(graph, "features.numeric=[item_age_days, item_duration_s, item_price]")
    assert "does not read item_price" in found
    fewer = problems(graph, "features.numeric=[item_age_days, item_duration_s]", *_NO_ITEMS)
    assert "`keys` for 10" in fewer and "`numbers` for 6" in fewer


_NO_ITEMS = ["serving.item_columns=[]"]


def test_features_in_another_order(graph: Path) -> None:
    config = load_config(CONFIG)
    names = [*config.features.categorical[1:], config.features.categorical[0]]
    found = problems(graph, f"features.categorical=[{', '.join(names)}]")
    assert (
        "the categorical features in the order " + ", ".join(config.features.categorical) in found
    )
    assert "expected that of the config, " + ", ".join(names) in found


def test_a_graph_of_another_making(graph: Path) -> None:
    for file in (graph / tft.TFTransformOutput.TRANSFORM_FN_DIR).glob("saved_model.pb"):
        file.write_bytes(file.read_bytes().replace(b"text_names", b"older_name"))
    assert "no tensor transform/text_names; expected a graph that this version" in problems(graph)


def test_a_sample_space_and_a_request_that_came_later(graph: Path) -> None:
    found = problems(graph, "tasks.like.space=is_click == 1")
    assert "gives no `spaces`" in found and "4 tasks' sample spaces" in found
    ranking = problems(
        graph,
        "tasks.like={label: is_like, kind: ranking}",
        "data.request=[user_id]",
        "data.event_key=[event_id, user_id]",
    )
    assert "gives no `request`" in ranking


def test_a_history_that_came_later(graph: Path) -> None:
    found = problems(
        graph, "features.history={items: [item_id], labels: [click]}", "model.preset=dupn"
    )
    assert "history:item_id" in found and "gives no `history_keys`" in found
