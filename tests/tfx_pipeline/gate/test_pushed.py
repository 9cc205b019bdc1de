"""The last pushed version, as what a candidate is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfx_pipeline.config import load_config
from tfx_pipeline.gate.pushed import (
    comparable,
    judge_comparability,
    scenario_notes,
    score_pushed,
)
from transforms.problems import InputError

CONFIG = load_config(
    Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml",
    ["features.statistics=[{by: [item_id], of: [like]}]"],
)
TASKS = list(CONFIG.tasks)
SCORES = {task: np.full(4, 0.5, np.float32) for task in TASKS}


class Version(tf.Module):
    """Serves a half for some tasks."""

    def __init__(self, tasks: list[str], columns: list[str], scenarios: list[str] | None) -> None:
        super().__init__()
        self.tasks, self.columns, self.scenarios = tasks, columns, scenarios

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {task: 0.5 * tf.ones(tf.shape(examples)) for task in self.tasks}

    @tf.function(input_signature=[])
    def request_columns(self) -> dict[str, tf.Tensor]:
        found = {"text": tf.constant(self.columns)}
        if self.scenarios is not None:
            found["scenarios"] = tf.constant(self.scenarios)
        return found

    def save(self, path: Path) -> str:
        names = ("serving_default", "request_columns")
        tf.saved_model.save(self, str(path), {name: getattr(self, name) for name in names})
        return str(path)


def test_a_version_of_the_same_kind_is_compared(tmp_path: Path) -> None:
    path = Version(TASKS, ["item_id"], CONFIG.scenario.names).save(tmp_path)
    found = score_pushed(path, 7, np.array([b""] * 4), CONFIG, SCORES)
    assert found.failures == [] and found.notes == []
    np.testing.assert_array_equal(found.outputs["like"], SCORES["like"])


def test_new_and_gone_scenarios_and_a_new_task_are_noted(tmp_path: Path) -> None:
    path = Version(TASKS[1:], ["item_id"], ["feed", "search", "attic", "other"]).save(tmp_path)
    found = score_pushed(path, 7, np.array([b""] * 4), CONFIG, SCORES)
    assert list(found.outputs) == TASKS[1:] and found.failures == []
    assert [(note["scenario"], note["why"]) for note in found.notes] == [
        ("*", "click is not compared: version 7 does not predict it"),
        ("nearby", "nearby is new: version 7 did not know it, and scores its rows as `other`"),
        ("attic", "attic is gone: version 7 knew it, now its rows are in `other`"),
    ]


def test_a_version_that_does_not_tell_its_scenarios_gives_no_notes(tmp_path: Path) -> None:
    path = Version(TASKS, ["item_id"], None).save(tmp_path)
    assert score_pushed(path, 7, np.array([b""] * 4), CONFIG, SCORES).notes == []
    assert scenario_notes(None, ["feed"], 7) == []


def test_a_version_that_reads_more_columns_cannot_be_compared(tmp_path: Path) -> None:
    known = {*CONFIG.features.categorical, *CONFIG.features.numeric, "stat:item_id:like:rate"}
    assert judge_comparability(known, CONFIG) == []
    path = Version(TASKS, ["gone", "item_id", "away"], ["feed"]).save(tmp_path)
    found = score_pushed(path, 7, np.array([b""] * 4), CONFIG, SCORES)
    (failure,) = found.failures
    assert failure["kind"] == "not_comparable" and found.outputs == {}
    assert "reads away, gone;" in failure["why"] and "gate.compare=false" in failure["why"]


@pytest.mark.parametrize("damage", ["no folder", "no graph", "half a graph", "no signature"])
def test_a_version_that_cannot_be_loaded_is_named(tmp_path: Path, damage: str) -> None:
    version = Version(TASKS, ["item_id"], None)
    path = tmp_path / "serving" / "1732271045"
    if damage == "no signature":
        tf.saved_model.save(version, str(path), {"serving_default": version.serving_default})
    elif damage != "no folder":
        version.save(path)
        graph = path / "saved_model.pb"
        graph.unlink() if damage == "no graph" else graph.write_bytes(graph.read_bytes()[:500])
    with pytest.raises(InputError) as error:
        score_pushed(str(path), 1732271045, np.array([b""]), CONFIG, SCORES)
    (problem,) = error.value.problems
    assert problem.where == f"version 1732271045 in {path}"
    assert problem.found.startswith("a model that cannot be loaded (") and "\n" not in problem.found
    for remedy in ("Restore", "remove", "gate.compare=false"):
        assert remedy in problem.remedy


def test_only_outputs_of_one_shape_are_compared() -> None:
    pushed = SCORES | {"like": np.full([4, 3], 1 / 3)}
    outputs, notes, failures = comparable(SCORES, pushed, 7, CONFIG)
    assert "like" not in outputs and len(outputs) == 3 and failures == []
    (note,) = notes
    assert note["why"] == ("like is not compared: version 7 has 3 outputs for it, the candidate 1")


def test_a_version_whose_scores_are_no_numbers_must_be_looked_at() -> None:
    pushed = SCORES | {"like": np.array([0.5, np.nan, 0.5, 0.5])}
    outputs, _, failures = comparable(SCORES, pushed, 7, CONFIG)
    (failure,) = failures
    assert (failure["task"], failure["kind"]) == ("like", "not_comparable")
    assert "version 7" in failure["why"] and "like" not in outputs
