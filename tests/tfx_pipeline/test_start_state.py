"""Feature states that a config can go on from, and those that it cannot."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.config import load_config
from tfx_pipeline.inputs import history, log_schema
from tfx_pipeline.start_state import start_state_problems
from transforms.feature_state import write_manifest

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return write_state(tmp_path)


def write_state(tmp_path: Path, *sets: str) -> Path:
    """As of the end of the day before the first of the config's."""
    config = load_config(CONFIG, sets)
    write_manifest(
        str(tmp_path / "state"),
        config.data.train.start.toordinal() - 1,
        config.features.past_days,
        [np.zeros(1 + len(statistic.of)) for statistic in config.features.past_days],
        history(config),
        str(tmp_path),
        config.data.event_key,
        log_schema(config).past_settings,
    )
    return tmp_path / "state"


def problems(state: Path, *sets: str) -> str:
    config = load_config(CONFIG, [f"data.state={state}", *sets])
    return "\n".join(map(str, start_state_problems(config)))


def test_one_of_the_day_before(state: Path) -> None:
    assert problems(state) == ""
    assert start_state_problems(load_config(CONFIG)) == []


def test_one_of_another_config(state: Path) -> None:
    statistics = "features.statistics=[{by: [item_id], of: [click]}]"
    assert "found the statistics ()" in problems(state, statistics)
    found = problems(state, "data.event_key=[event_id, user_id]")
    assert "found the event key ('event_id',); expected ('event_id', 'user_id')" in found
    found = problems(
        state, "features.history={items: [item_id], labels: [click]}", "model.preset=dupn"
    )
    assert "found the histories None" in found


def test_one_of_other_labels_or_times(tmp_path: Path) -> None:
    statistics = "features.statistics=[{by: [item_id], of: [click]}]"
    state = write_state(tmp_path, statistics)
    assert problems(state, statistics) == ""
    found = problems(state, statistics, "tasks.click.label=is_click > 1")
    assert 'found labels.click.label "is_click == 1"; expected "is_click > 1"' in found
    assert problems(state, statistics, "tasks.like.label=is_like > 1") == "", "it holds no like"
    found = problems(state, statistics, "data.clock={unit: s}")
    assert 'found clock_unit none; expected "s"' in found


def test_one_that_has_seen_the_rows(state: Path) -> None:
    before = load_config(CONFIG).data.train.start - datetime.timedelta(days=1)
    found = problems(state, f"data.train={before}")
    assert f"a state as of the end of {before}; expected one of a day before {before}" in found


def test_one_that_is_none(state: Path) -> None:
    assert "pipeline/LogExampleGen/feature_state" in problems(state / "nowhere")
    (state / "state.json").write_text('{"format": 3, "last')
    assert "expected a feature state of an earlier run" in problems(state)
