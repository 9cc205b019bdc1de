"""Which files a config reads, and whether they have arrived."""

from __future__ import annotations

import datetime
import os
import time

import pytest
import yaml

from tfx_pipeline.config import Config, load_config
from tfx_pipeline.inputs import find_inputs, log_schema
from transforms.arrival import check_unchanged, file_marks
from transforms.problems import InputError

_CONFIG = """
name: small
data:
  logs: "log/{YYYY}-{MM}-{DD}/*"
  format: csv
  event_key: [event]
  event_time: time
  user: user
  clock: {unit: ms}
  train: 2024-01-01..2024-01-02
  valid: 2024-01-03
  eval: 2024-01-04
features: {categorical: [user]}
scenario: {column: tab, values: [feed]}
tasks: {click: {label: clicked == 1}}
"""
_OUTCOMES = {
    "files": "outcomes/{YYYY}-{MM}-{DD}.csv",
    "key": ["event"],
    "time": "at",
    "columns": {"clicked": {"value": "kind == 'click'"}},
}


@pytest.fixture
def raw(tmp_path):
    """A config, with days 1 to 4 of the log and 1 to 6 of the outcomes; as old as a minute."""
    (tmp_path / "outcomes").mkdir()
    for day in range(1, 7):
        if day < 5:
            folder = tmp_path / "log" / f"2024-01-0{day}"
            folder.mkdir(parents=True)
            (folder / "part-0.csv").write_text("x")
        (tmp_path / "outcomes" / f"2024-01-0{day}.csv").write_text("x")
    for path in tmp_path.rglob("*.csv"):
        os.utime(path, (time.time() - 60, time.time() - 60))
    raw = yaml.safe_load(_CONFIG)
    raw["data"]["path"] = str(tmp_path)
    return raw


def _find(raw, **changes):
    raw["data"] |= changes
    return find_inputs(Config.model_validate(raw))


def _said(found):
    return [str(problem) for problem in found.problems]


def test_marks_of_whole_days(raw, tmp_path):
    for day in (1, 2, 4):
        (tmp_path / "log" / f"2024-01-0{day}" / "_SUCCESS").touch()
    assert _find(raw).problems == ()
    found = _find(raw, success_marker="log/{YYYY}-{MM}-{DD}/_SUCCESS")
    assert _said(found) == [
        f"{tmp_path}/log/2024-01-03/_SUCCESS: found no such file; expected the mark that the log "
        "of 2024-01-03 is whole, as data.success_marker says. Wait until it is written, or move "
        "the days back."
    ]
    (tmp_path / "log" / "2024-01-03" / "_SUCCESS").touch()
    found = _find(raw)
    # Neither marks nor drafts are read.
    (tmp_path / "log" / "2024-01-03" / ".part-1.csv.tmp").touch()
    assert [os.path.basename(path) for path in found.paths] == ["part-0.csv"] * 4
    assert found.problems == ()
    assert (
        "_DONE: found no such file; expected the mark that the log is whole"
        in (_said(_find(raw, success_marker="_DONE"))[0])
    )


def test_a_time_to_settle(raw, tmp_path):
    assert _find(raw, settle="50s").problems == ()
    (tmp_path / "log" / "2024-01-02" / "part-0.csv").write_text("xy")
    (said,) = _said(_find(raw, settle="50s"))
    assert said.startswith(f"{tmp_path}/log/2024-01-02/part-0.csv: found a change at 20")
    assert "expected none for 0:00:50, as data.settle says: it may still be written." in said
    assert len(_find(raw, settle="2h").problems) == 4


def test_files_that_change_while_they_are_read(raw, tmp_path):
    # A name that would be a pattern of another file's.
    (tmp_path / "log" / "2024-01-03" / "part-0.csv").rename(
        tmp_path / "log" / "2024-01-03" / "part-[1].csv"
    )
    paths = _find(raw).paths
    before = file_marks(paths)
    assert list(before) == list(paths) and paths[2].endswith("part-[1].csv")
    check_unchanged(before)
    (tmp_path / "log" / "2024-01-02" / "part-0.csv").write_text("xy")
    (tmp_path / "log" / "2024-01-03" / "part-[1].csv").unlink()
    with pytest.raises(InputError) as caught:
        check_unchanged(before)
    (problem,) = caught.value.problems
    assert problem.where == ", ".join(paths[1:3])
    assert problem.found == "a change while it was read"


def test_a_window_that_is_not_closed(raw, tmp_path):
    found = _find(raw, outcomes=_OUTCOMES, attribution_window="2d")
    assert (found.problems, found.open_days) == ((), ())
    # Numbered on from the log's.
    assert [(file.index, file.day) for file in found.outcomes] == [
        (4 + i, datetime.date(2024, 1, 1 + i).toordinal()) for i in range(6)
    ]
    (tmp_path / "outcomes" / "2024-01-06.csv").unlink()
    (said,) = _said(_find(raw))
    assert said.startswith(
        f"{tmp_path}/outcomes/2024-01-06.csv: found no such file; expected the outcomes of "
        "2024-01-06, in the attribution window of 2024-01-04. Wait until they are there"
    )
    assert _find(raw, attribution_window="24h").problems == ()
    assert len(_find(raw, attribution_window="25h").problems) == 1

    at_once = {**_OUTCOMES, "trainable": "at_once"}
    (tmp_path / "outcomes" / "2024-01-05.csv").unlink()
    found = _find(raw, outcomes=at_once, attribution_window="2d")
    assert found.problems == ()
    assert found.open_days == (datetime.date(2024, 1, 3), datetime.date(2024, 1, 4))
    # Of the day itself they must be there.
    (tmp_path / "outcomes" / "2024-01-04.csv").unlink()
    (said,) = _said(_find(raw))
    assert "expected the outcomes of 2024-01-04, in the attribution window of 2024-01-04" in said


def test_outcomes_without_their_mark_are_not_there(raw, tmp_path):
    settings = {**_OUTCOMES, "success_marker": "outcomes/_{YYYY}-{MM}-{DD}"}
    for day in (1, 2, 3, 4, 5):
        (tmp_path / "outcomes" / f"_2024-01-0{day}").touch()
    (said,) = _said(_find(raw, outcomes=settings, attribution_window="2d"))
    assert said.startswith(f"{tmp_path}/outcomes/_2024-01-06: found no such file; expected the out")
    found = _find(raw, outcomes={**settings, "trainable": "at_once"})
    assert found.open_days == (datetime.date(2024, 1, 4),)
    assert len(found.outcomes) == 5


def test_the_terms_of_the_outcomes(raw):
    raw["data"] |= {"outcomes": _OUTCOMES, "attribution_window": "90m"}
    raw["data"]["clock"] = {"unit": "ms", "max_skew": "2s"}
    outcomes = log_schema(Config.model_validate(raw)).outcomes
    assert (outcomes.window, outcomes.skew) == (5_400_000, 2_000)
    raw["data"]["outcomes"] = {**_OUTCOMES, "columns": {"user": {"value": "kind == 'click'"}}}
    with pytest.raises(InputError, match="data.outcomes.columns.user: found a column that is read"):
        log_schema(Config.model_validate(raw))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["data.attribution_window=3d"],
            "data.attribution_window: found a window, and no data.out",
        ),
        (["data.settle=10"], "data.settle: found 10, which is no length of time: a number and s,"),
        (["data.clock.time_zone=Mars"], "data.clock.time_zone: found 'Mars', which is no time"),
    ],
)
def test_mistakes(raw, tmp_path, overrides, said):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    assert said in str(caught.value)


def test_mistakes_of_outcomes(raw, tmp_path):
    path = tmp_path / "config.yaml"
    del raw["data"]["clock"]
    columns = {**_OUTCOMES["columns"], "bought": {"value": "kind == 'order'"}}
    raw["data"]["outcomes"] = {**_OUTCOMES, "files": "outcomes/*", "columns": columns}
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert [problem.where for problem in caught.value.problems] == [
        "data.attribution_window",
        "data.clock.unit",
        "data.outcomes.files",
        "data.outcomes.columns.bought",
    ]


def test_paths_from_home_and_as_uris(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(_find(raw, path=f"~/{tmp_path.name}").paths) == 4
    assert len(_find(raw, path=f"file://{tmp_path}").paths) == 4
