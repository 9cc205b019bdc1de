"""Transform graphs that a config can be run on, and those that it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfx_pipeline.config import load_config
from tfx_pipeline.frozen_graph import frozen_graph_problems
from tfx_pipeline.inputs import preprocessing_config
from tfx_pipeline.start_weights import meaning_file, start_weights_problems, weights_meaning
from transforms.graph_settings import SCOPE, write_settings

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
HISTORY = ("features.history={items: [item_id], labels: [click]}", "model.preset=dupn")


def write_graph(folder: Path, *sets: str) -> Path:
    """What a graph that was fitted for a config says of itself; nothing else is in it."""
    saved_model = saved_model_pb2.SavedModel()
    with tf.Graph().as_default() as graph, tf.name_scope(SCOPE):
        write_settings(preprocessing_config(load_config(CONFIG, sets)))
        saved_model.meta_graphs.add().graph_def.CopyFrom(graph.as_graph_def())
    (folder / "transform_fn").mkdir()
    (folder / "transform_fn" / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return folder


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path)


def problems(graph: Path, *sets: str) -> list[str]:
    config = load_config(CONFIG, [f"features.transform_graph={graph}", *sets])
    found = [str(problem) for problem in frozen_graph_problems(config)]
    assert all(p.startswith(f"transform graph {graph}: ") for p in found)
    return [p.removeprefix(f"transform graph {graph}: ").partition(", as in")[0] for p in found]


def test_the_config_it_was_fitted_for(graph: Path) -> None:
    assert problems(graph) == []
    assert frozen_graph_problems(load_config(CONFIG)) == []


def test_tasks_in_another_order(graph: Path) -> None:
    names = list(load_config(CONFIG).tasks)
    config = load_config(CONFIG, [f"features.transform_graph={graph}"])
    swapped = config.model_copy(update={"tasks": dict(reversed(config.tasks.items()))})
    (problem,) = frozen_graph_problems(swapped)
    assert f"found tasks {json.dumps(names)}; expected {json.dumps(names[::-1])}" in str(problem)


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        (
            "scenario.values=[feed, campaign, nearby]",
            '"search", "nearby", "other"]; expected ["feed", "c',
        ),
        ("features.num_buckets=7", "num_buckets 32; expected 7"),
        ("scenario.column=user_group", 'scenario_column "tab"; expected "user_group"'),
    ],
)
def test_what_a_number_stands_for(graph: Path, setting: str, found: str) -> None:
    assert any(found in problem for problem in problems(graph, setting))


def test_a_folder_that_holds_no_graph(tmp_path: Path) -> None:
    settings = load_config(CONFIG, [f"features.transform_graph={tmp_path}"])
    (problem,) = frozen_graph_problems(settings)
    assert problem.where == f"transform graph {tmp_path}"
    assert "pipeline/Transform/transform_graph" in problem.remedy


def test_a_feature_that_came_later(graph: Path) -> None:
    (found,) = problems(graph, "features.numeric=[item_age_days, item_duration_s, item_price]")
    assert found.startswith("found numeric [") and '"item_price"]' in found.partition("; ")[2]


def test_features_in_another_order(graph: Path) -> None:
    names = load_config(CONFIG).features.categorical
    other = [*names[1:], names[0]]
    (found,) = problems(graph, f"features.categorical=[{', '.join(other)}]")
    assert found == f"found categorical {json.dumps(names)}; expected {json.dumps(other)}"


def test_a_sample_space_a_request_and_a_history_that_came_later(graph: Path) -> None:
    assert problems(graph, "tasks.like.space=is_click == 1") == [
        "found spaces false; expected true"
    ]
    ranking = problems(
        graph,
        "tasks.like={label: is_like, kind: ranking}",
        "data.request=[user_id]",
        "data.event_key=[event_id, user_id]",
    )
    assert ranking == ['found request_column none; expected "_request"']
    (found,) = problems(graph, *HISTORY)
    assert found.startswith('found history none; expected {"items": ["item_id"]')


def test_another_history(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, *HISTORY, "features.history.age_buckets=4")
    assert problems(graph, *HISTORY) == ["found history.age_buckets 4; expected 8"]


def test_a_graph_of_another_making(graph: Path) -> None:
    for file in graph.rglob("saved_model.pb"):
        file.write_bytes(file.read_bytes().replace(b"settings", b"whatever"))
    (found,) = problems(graph)
    assert "no constant transform/settings; expected a transform graph that this version" in found


def test_weights_of_another_model(graph: Path) -> None:
    start = graph / "trained"
    (graph / "trained.index").touch()
    going_on = (f"features.transform_graph={graph}", f"training.start={start}")
    config = load_config(CONFIG, going_on)
    assert "no " + meaning_file(str(start)) in str(*start_weights_problems(config))
    written = weights_meaning(load_config(CONFIG))
    Path(meaning_file(str(start))).write_text(json.dumps(written))
    assert start_weights_problems(config) == start_weights_problems(load_config(CONFIG)) == []
    for setting, found in (
        ("tasks.like={label: is_like, kind: regression}", 'like.kind "binary"; expected "regre'),
        ("model.embedding.dims.user_id=4", "embedding_widths.user_id 16; expected 4"),
        ("scenario.values=['1']", "found inputs.scenarios"),
        ("model.preset=mmoe", 'found backbone "ple"; expected "mmoe"'),
    ):
        said = start_weights_problems(load_config(CONFIG, [*going_on, setting]))
        assert any(found in str(problem) for problem in said), (setting, said)
