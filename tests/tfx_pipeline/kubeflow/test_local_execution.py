"""The compiled tasks' own commands make the model that `equipoise run` makes.

`local_executor.py` runs them. It is a local executor of the compiled spec, not a Kubeflow run.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..daily import backfills
from .conftest import CompileJobs, compile_arguments

pytestmark = pytest.mark.e2e

STORE_ROOT = "minio://mlpipeline/v2/artifacts"
DAYS = ("2024-01-03", "2024-01-04")
"""The first begins the lineage, the second goes on from it."""


@pytest.fixture(scope="module")
def executed(
    daily_logs: Path,
    compile_jobs: CompileJobs,
    kubeflow_bin: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder with the volume, the store, and a report of each run."""
    folder = tmp_path_factory.mktemp("executed")
    for name in ("volume", "store"):
        (folder / name).mkdir()
    settings = [
        *backfills.SMALL,
        "data.path=/nowhere",
        "kubeflow.image=unused",
        f"kubeflow.pipeline_root={STORE_ROOT}",
        "kubeflow.volume=unused",
        f"kubeflow.mount_path={folder / 'volume'}",
    ]
    specs = {day: folder / f"{day}.yaml" for day in DAYS}
    flags = {DAYS[0]: ["--full"], DAYS[1]: []}
    for done in compile_jobs(
        *(compile_arguments(specs[day], settings, *flags[day]) for day in DAYS)
    ):
        assert done["returncode"] == 0, done
    runs = [
        {
            "spec": str(specs[day]),
            "id": f"run-{day}",
            "parameters": {"day": day, "data_path": str(daily_logs)},
            "report": str(folder / f"{day}.json"),
            "literally": "" if flags[day] else "Trainer",
        }
        for day in DAYS
    ]
    around = {"store": str(folder / "store"), "scratch": str(folder / "scratch"), "runs": runs}
    (folder / "runs.json").write_text(json.dumps(around))
    script = Path(__file__).with_name("local_executor.py")
    command = [kubeflow_bin / "python", script, folder / "runs.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def artifact(executed: Path, day: str, task: str, output: str) -> Path:
    """Where the store has it."""
    found = json.loads((executed / f"{day}.json").read_text())[task][output]
    return executed / "store" / found["uri"].partition("://")[2]


@pytest.mark.parametrize("day", DAYS)
def test_it_is_blessed_with_the_same_rows_and_metrics(
    executed: Path, backfilled: Path, day: str
) -> None:
    verdict = json.loads((artifact(executed, day, "Gate", "verdict") / "verdict.json").read_text())
    counts = json.loads(
        (artifact(executed, day, "LogExampleGen", "ingest_report") / "counts.json").read_text()
    )
    expected = backfills.summary(backfilled, day)
    for name in ("read", "duplicates", "rejected", "out_of_range", "train", "valid", "eval"):
        assert counts[name] == expected["data"][name]
    assert verdict["blessed"] and expected["gate"]["blessed"]
    for cell, same in zip(verdict["metrics"], expected["metrics"], strict=True):
        for name in ("task", "scenario", "examples", "positives", "status"):
            assert cell[name] == same[name]
        if cell["scenario"] == "*":
            for name in ("auc", "gauc", "logloss", "calibration"):
                assert cell[name] == pytest.approx(same[name], abs=backfills.NOISE)


def test_the_pushed_versions_answer_as_those_of_the_local_runs(
    executed: Path, backfilled: Path
) -> None:
    from serving.cpp_loader import read_records, run_in_fresh_process

    workdir = executed / "volume" / "simulated"
    mine, theirs = backfills.records(workdir), backfills.records(backfilled)
    assert list(mine) == list(theirs)[:2] == list(DAYS)
    folder = artifact(executed, DAYS[-1], "LogExampleGen", "examples") / "Split-eval"
    rows = [r for file in sorted(folder.glob("*")) for r in read_records(file)]
    for day in DAYS:
        answers = [
            run_in_fresh_process(at / "serving" / "simulated" / str(records[day].version), rows)
            for at, records in ((workdir, mine), (backfilled, theirs))
        ]
        for task, scores in answers[0].items():
            # What two undisturbed runs differ by, as TensorFlow's threads add up in any order.
            np.testing.assert_allclose(scores, answers[1][task], atol=0.02)


def test_a_day_goes_on_from_what_the_volume_keeps(executed: Path) -> None:
    first, second = backfills.records(executed / "volume" / "simulated").values()
    assert first.full and not second.full
    assert second.parent == first.key != second.key
    assert second.statistics == first.statistics
    for record in (first, second):
        for kept in ("model", "trained", "feature_state", "transform_graph", "statistics"):
            path = Path(getattr(record, kept))
            assert executed / "volume" in path.parents
            assert list(path.parent.glob(f"{path.name}*")), kept


def test_artifacts_are_reported_where_the_store_has_them(executed: Path) -> None:
    for day in DAYS:
        tasks: dict[str, dict[str, Any]] = json.loads((executed / f"{day}.json").read_text())
        uris = [made["uri"] for outputs in tasks.values() for made in outputs.values()]
        assert all(uri.startswith(f"{STORE_ROOT}/simulated/run-{day}/") for uri in uris)
        assert tasks["Gate"]["blessing"]["metadata"]["blessed"] == 1
        assert (artifact(executed, day, "Report", "report") / "index.html").is_file()
    assert not (executed / "scratch").exists()
