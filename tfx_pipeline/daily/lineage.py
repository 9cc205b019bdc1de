"""Where a version comes from, as ML Metadata knows it."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_pipeline.artifacts import read_json
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import on_day
from tfx_pipeline.recorded_run import recorded_config
from tfx_pipeline.run_record import Run, all_runs
from transforms.problems import InputError, Problem

_MOST_NAMED = 5


@dataclass(frozen=True)
class Ancestor:
    """A run that a version comes from.

    Args:
      run: Its number in its workdir.
      started: When.
      day: The day that it was of, YYYY-MM-DD; empty for a run of the config's own days.
      config: What it ran, with the splits of the day.
      config_hash: SHA-256 of the job's config, less `daily.full`, which each day decides.
      failures: How many failures the gate named; with none it blessed the model.
      version: The version that was pushed, None where none was.
    """

    run: int
    started: datetime.datetime
    day: str
    config: Config
    config_hash: str
    failures: int
    version: int | None


def lineage(workdir: Path, version: int) -> list[Ancestor]:
    """The runs that a version comes from, back to the one that began with cold weights.

    Args:
      workdir: Where it was pushed.
      version: Its number.

    Returns:
      That version's run first.

    Raises:
      InputError: if no run in the workdir pushed it, or one that it comes from is not known.
    """
    metadata = workdir / "metadata.db"
    runs = [run for run in all_runs(str(metadata)) if "Pusher" in run.components]
    if not metadata.is_file() or not (found := [r for r in runs if _version(r) == version]):
        pushed = sorted({str(_version(run)) for run in runs if _version(run)})[-_MOST_NAMED:]
        raise InputError(
            [
                Problem(
                    f"version {version}",
                    f"no run in {workdir} that pushed it",
                    f"one of those that were: … {', '.join(pushed)}" if pushed else "a run's push",
                    "Name the run's workdir with --workdir.",
                )
            ]
        )
    # A day's run has the same key whenever it is run: all that its result depends on is in it.
    by_key = {_key(run): run for run in runs if _key(run)}
    chain = [found[-1]]
    while parent := _parent_key(chain[-1]):
        if parent not in by_key:
            raise InputError(
                [
                    Problem(
                        str(metadata),
                        f"no run {parent}, which run {chain[-1].number} went on from",
                        "the runs of all days that the version comes from",
                    )
                ]
            )
        chain.append(by_key[parent])
    return [_ancestor(workdir, run) for run in chain]


def _ancestor(workdir: Path, run: Run) -> Ancestor:
    gate = run.components["Gate"]
    job = recorded_config(workdir, str(gate.parameters["config"]))
    day = str(run.components["Pusher"].parameters.get("day", ""))
    return Ancestor(
        run=run.number,
        started=run.started,
        day=day,
        config=on_day(job, day),
        config_hash=hashlib.sha256(job.with_full(False).model_dump_json().encode()).hexdigest(),
        failures=len(read_json(gate.outputs["verdict"], "verdict.json")["failures"]),
        version=_version(run),
    )


def _version(run: Run) -> int | None:
    pushed = run.components["Pusher"].properties["pushed_model"].get("pushed_version")
    return int(pushed) if pushed else None


def _key(run: Run) -> Any:
    record = run.components.get("RecordDay")
    return record.parameters["key"] if record else None


def _parent_key(run: Run) -> Any:
    parent = run.components.get("Parent")
    return parent.properties["parent"].get("parent_key") if parent else None
