"""Ingestion through Beam's job API, as Flink and Spark take it, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.ingest import Ingest
from transforms.tally import Tally

from . import every_step

_RUNNERS = {
    "direct": ["--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"],
    # A job server in this process, and a worker that knows of the pipeline what its proto says.
    "portable": [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=LOOPBACK",
        "--experiments=use_loopback_process_worker=True",
    ],
}


@pytest.mark.e2e
def test_a_worker_in_a_process_of_its_own_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beam starts the worker as `python`.
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    every_step.write_logs(tmp_path / "logs")
    found, tallies = {}, {}
    for name, args in _RUNNERS.items():
        first, second = tmp_path / name / "first", tmp_path / name / "second"
        for out, days, start in ((first, (0, 2), None), (second, (3, 4), first / "state")):
            plan = every_step.make_plan(tmp_path / "logs", out, days, start)
            with beam.Pipeline(options=PipelineOptions(args)) as pipeline:
                pipeline | Ingest(plan)
            found[name, out.name] = every_step.written(out)
            tallies[name, out.name] = Tally.from_json((out / "tally.json").read_text())
    for out_name in ("first", "second"):
        assert len(found["direct", out_name]) > 10
        assert found["portable", out_name] == found["direct", out_name]
        assert tallies["portable", out_name] == tallies["direct", out_name]
