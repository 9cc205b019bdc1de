"""What the terminal shows of verdicts, old ones too."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tfx_pipeline.cli import app
from tfx_pipeline.gate import explain
from tfx_pipeline.run_record import ComponentRun, Run
from transforms.problems import InputError

OLD = {
    "blessed": False,
    "failures": [
        {
            "task": "click",
            "scenario": "search",
            "metric": "auc",
            "value": 0.61,
            "threshold": 0.64,
            "kind": "change",
        }
    ],
    "not_judged": [{"task": "like", "scenario": "other", "why": "3 positives, fewer than 50"}],
    "baseline_version": 1732271045,
    "metrics": [{"task": "click", "scenario": "search", "auc": 0.61, "auc_baseline": 0.65}],
}
NEW = {
    **OLD,
    "format": 2,
    "confidence": 0.95,
    "candidate": "/job/pipeline/Trainer/model/7",
    "notes": [{"scenario": "attic", "why": "attic is gone"}],
    "failures": [
        {
            **OLD["failures"][0],
            "baseline": 0.65,
            "interval": [-0.06, -0.02],
            "why": "AUC of click in search fell from 0.6500 in version 1732271045 to 0.6100",
        },
        {
            "task": "*",
            "scenario": "*",
            "metric": "columns",
            "value": None,
            "threshold": None,
            "kind": "not_comparable",
            "why": "the last pushed version also reads gone",
        },
    ],
    "metrics": [
        {
            "task": "click",
            "scenario": "search",
            "ci": [0.6, 0.62],
            "change": {"auc": {"interval": [-0.05, -0.03]}},
        }
    ],
}
BLESSED = {
    **OLD,
    "blessed": True,
    "failures": [],
    "not_judged": [],
    "baseline_version": None,
    "warnings": [{"task": "like", "scenario": "other", "why": "AUC of like in other went down"}],
    "margins": [
        {
            "task": "click",
            "scenario": scenario,
            "metric": "auc",
            "kind": "change",
            "against": "pushed",
            "threshold": 0.64,
            "value": 0.64 - excess,
            "excess": excess,
            "noise": noise,
        }
        for scenario, excess, noise in (("far", -0.02, 0.01), ("near", -0.03, 0.1), ("*", -0.01, 0))
    ],
}


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs: blessed and pushed, stopped early, held back by older code, held back."""
    (tmp_path / "metadata.db").touch()
    runs = []
    for number, verdict in enumerate((BLESSED, None, OLD, NEW), 1):
        components = {}
        if verdict is not None:
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "verdict.json").write_text(json.dumps(verdict))
            components["Gate"] = ComponentRun("Gate", 1.0, False, {"verdict": str(folder)})
        if verdict is BLESSED:
            properties = {"pushed_model": {"pushed": 1, "pushed_version": "1732271045"}}
            components["Pusher"] = ComponentRun("Pusher", 1.0, False, {}, properties)
        started = datetime.datetime(2024, 11, 20 + number, 10)
        runs.append(Run(number, started, components))
    monkeypatch.setattr(explain, "all_runs", lambda _: runs)
    return tmp_path


def show(parts: Sequence[Any]) -> str:
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["gate", *arguments], env={"COLUMNS": "80"})
    return done.exit_code, done.output


def test_the_list_has_a_line_a_run_the_newest_last(workdir: Path) -> None:
    lines = show([explain.list_runs(explain.read_verdicts(workdir))]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["1", "2024-11-21", "10:00:00", "blessed", "1732271045", "–"],
        ["2", "2024-11-22", "10:00:00", "none", "–", "–"],
        ["3", "2024-11-23", "10:00:00", "1", "failure", "–", "1732271045"],
        ["4", "2024-11-24", "10:00:00", "2", "failures", "–", "1732271045"],
    ]
    assert max(map(len, lines)) <= 80
    assert invoke(str(workdir))[0] == 0


def test_the_newest_is_explained(workdir: Path) -> None:
    status, text = invoke(str(workdir), "--explain")
    assert status == 3 and max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for part in (
        "run 4 of 2024-11-24 10:00:00: not blessed",
        "The candidate lies in /job/pipeline/Trainer/model/7; compared with version 1732271045",
        "Of 1 cells 1 were judged, of which 1 failed.",
        "click search AUC 0.6100 0.6400 0.6500 -0.0600 -0.0200",
        "change AUC of click in search fell from 0.6500",
        "not comparable the last pushed version also reads gone",
        "like other 3 positives, fewer than 50",
        "note attic is gone",
    ):
        assert part in flat


def test_an_older_verdict_is_explained_with_what_it_holds(workdir: Path) -> None:
    status, text = invoke(str(workdir), "--run", "3")
    assert status == 3
    flat = " ".join(text.split())
    assert "click search AUC 0.6100 0.6400 0.6500 –" in flat
    assert "change click in search: auc 0.6100 against 0.6400" in flat


def test_a_blessed_run_ends_with_0(workdir: Path) -> None:
    status, text = invoke(str(workdir), "--run", "1")
    assert status == 0
    flat = " ".join(text.split())
    assert (
        "blessed The candidate is version 1732271045; compared with no version. Of 1 cells 1"
        in flat
    )
    assert "warning AUC of like in other went down" in flat
    # The nearest in units of the noise comes first.
    near = "click near AUC last pushed 0.6400 0.6700 +0.0300 0.1000"
    far = "click far AUC last pushed 0.6400 0.6600 +0.0200 0.0100"
    assert 0 < flat.index(near) < flat.index(far) < flat.index("click all AUC last pushed")
    assert "3 of 3 thresholds" in flat and max(map(len, text.splitlines())) <= 80


def test_a_run_without_a_verdict_says_so(workdir: Path) -> None:
    runs = explain.read_verdicts(workdir)
    with pytest.raises(InputError, match="run 2 of .*: found no verdict"):
        explain.one_verdict(runs, 2, workdir)
    with pytest.raises(InputError, match="--run: found 5; expected a run of .*: 1 to 4"):
        explain.one_verdict(runs, 5, workdir)
    assert explain.one_verdict(runs, None, workdir).number == 4


def test_half_a_verdict_is_none(workdir: Path) -> None:
    (workdir / "4" / "verdict.json").write_text('{"blessed": tr')
    (workdir / "3" / "verdict.json").unlink()
    found = [run.verdict is None for run in explain.read_verdicts(workdir)]
    assert found == [False, True, True, True]


def test_a_folder_without_runs(tmp_path: Path) -> None:
    status, text = invoke(str(tmp_path))
    assert status == 2 and "no run" in text
