"""`beam` in the config: what is refused, and what the components hand to Beam."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from tfx import v1 as tfx
from tfx.utils.dependency_utils import make_beam_dependency_flags

from tfx_pipeline.check import check
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.config.beam import BEAM_COMPONENTS
from tfx_pipeline.pipeline import create_pipeline
from tfx_pipeline.runners import local
from tfx_pipeline.runners.beam_options import LOCAL, pipeline_args
from tfx_pipeline.runners.beam_problems import beam_problems
from transforms.problems import InputError, Problem

_SIMULATED = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
_CLOUD = {"project": "some-project", "region": "europe-west1", "temp_location": "gs://bucket/tmp"}


def _config(**beam: Any) -> Config:
    return load_config(_SIMULATED, [f"beam={beam}"])


def _refused(**beam: Any) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as error:
        _config(**beam)
    return error.value.problems


def _problem(**beam: Any) -> Problem:
    (problem,) = beam_problems(_config(**beam))
    return problem


def test_runs_on_the_fn_api_runner_by_name_unless_told_otherwise() -> None:
    assert LOCAL == pipeline_args(_config().beam, "Transform") == [
        "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
        "--direct_running_mode=in_memory",
        "--sdk_container_image=unused",
    ]  # fmt: skip
    assert beam_problems(_config()) == []


def test_tfx_packs_nothing_for_workers_in_this_process() -> None:
    assert make_beam_dependency_flags(LOCAL) == LOCAL


@pytest.mark.parametrize("name", ["dask", "DaskRunner"])
@pytest.mark.parametrize("place", ["", "components.Transform."])
def test_the_dask_runner_is_refused_with_the_reason(name: str, place: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(_SIMULATED, [f"beam.{place}runner={name}"])
    (problem,) = error.value.problems
    assert problem.where == f"beam.{place}runner"
    assert f"{name}, which leaves out" in problem.found and "loses rows" in problem.found


def test_names_are_checked_when_the_config_is_read() -> None:
    (runner,) = _refused(runner="flick")
    assert runner.found == "'flick'"
    assert "'flink'" in runner.expected and "'spark'" in runner.expected
    (component,) = _refused(components={"Trainer": {"options": {"num_workers": 2}}})
    assert component.where == "beam.components.Trainer"
    assert "Transform" in component.expected
    (dashes,) = _refused(options={"--num_workers": 2})
    assert dashes.where == "beam.options.--num_workers"
    (inner,) = _refused(components={"Transform": {"options": {"runner": "x"}}})
    assert inner.where == "beam.components.Transform.options.runner"
    assert inner.expected == "it as beam.components.Transform.runner"


def test_an_option_beam_does_not_know_is_named_with_the_nearest() -> None:
    problem = _problem(runner="portable", options={"job_endpoint": "h:1", "num_wokers": 2})
    assert problem.where == "beam.options.num_wokers"
    assert problem.remedy == "Is `num_workers` meant?"
    # What argparse would take for --num_workers.
    assert _problem(options={"num_work": 2}).where == "beam.options.num_work"
    own = _problem(components={"Evaluator": {"options": {"num_wokers": 2}}})
    assert own.where == "beam.components.Evaluator.options.num_wokers"


def test_a_value_beam_does_not_take_is_named_with_its_reason() -> None:
    problem = _problem(options={"direct_num_workers": "two"})
    assert (problem.where, problem.found) == ("beam.options.direct_num_workers", "'two'")
    assert "invalid int value" in problem.remedy
    problem = _problem(options={"direct_running_mode": "remote"})
    assert "in_memory" in problem.remedy
    assert "expected one argument" in _problem(options={"temp_location": True}).remedy
    assert _problem(options={"use_public_ips": False}).expected == "true, or the option left out"
    assert beam_problems(_config(options={"streaming": False})) == []


def test_an_option_of_another_runner_is_refused() -> None:
    problem = _problem(options={"flink_master": "host:8081"})
    assert problem.found == "an option of flink alone"
    assert _problem(runner="spark", options={"job_endpoint": "h:1", "parallelism": 2}).where == (
        "beam.options.parallelism"
    )
    # Any job server may be behind `portable`.
    options = {"job_endpoint": "h:1", "parallelism": 2}
    assert beam_problems(_config(runner="portable", options=options)) == []


def test_what_a_runner_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _problem(runner="portable").found == "portable without job_endpoint"
    for option in _CLOUD:
        rest = {name: value for name, value in _CLOUD.items() if name != option}
        assert _problem(runner="dataflow", options=rest).found == f"dataflow without {option}"
    assert beam_problems(_config(runner="dataflow", options=_CLOUD)) == []
    local_temp = {**_CLOUD, "temp_location": "/tmp"}
    problem = _problem(runner="dataflow", options=local_temp)
    assert (problem.where, problem.found) == ("beam.options.temp_location", "/tmp")
    process = _problem(
        runner="flink", options={"job_endpoint": "h:1", "environment_type": "PROCESS"}
    )
    assert "process_command" in process.found
    missing = _problem(options={"setup_file": str(tmp_path / "setup.py")})
    assert missing.found == f"no file {tmp_path / 'setup.py'}"

    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "`java`, which is not installed" in _problem(runner="flink").found
    assert beam_problems(_config(runner="spark", options={"job_endpoint": "h:1"})) == []
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", None)
    assert _problem(runner="dataflow", options=_CLOUD).remedy == "pip install apache-beam[gcp]"


def test_check_and_run_stop_before_anything_starts(tmp_path: Path) -> None:
    config = _config(options={"num_wokers": 2})
    assert "beam.options.num_wokers" in {problem.where for problem in check(config).problems}
    with pytest.raises(InputError, match="num_wokers"):
        local.run(config, config_path="", workdir=tmp_path)
    with pytest.raises(InputError, match="which its workers do not see"):
        local.run(_config(runner="dataflow", options=_CLOUD), config_path="", workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _nodes(config: Config) -> dict[str, Any]:
    pipeline = create_pipeline(
        config, workdir="/tmp/never-written", input_fingerprint="", known_version=0
    )
    return {node.id: node for node in pipeline.components}


def test_every_beam_component_gets_its_own_options() -> None:
    config = _config(
        runner="portable",
        options={"job_endpoint": "host:8099", "num_workers": 2, "experiments": ["a"]},
        components={
            "Transform": {"options": {"num_workers": 9, "experiments": ["b", "c"]}},
            "Evaluator": {"runner": "direct"},
        },
    )
    assert beam_problems(config) == []
    args = {
        name: node.executor_spec.beam_pipeline_args
        for name, node in _nodes(config).items()
        if isinstance(node, tfx.types.BaseBeamComponent)
    }
    assert set(args) == set(BEAM_COMPONENTS)
    assert args["Evaluator"] == LOCAL
    for name, workers, experiments in (("LogExampleGen", 2, ["a"]), ("Transform", 9, ["b", "c"])):
        assert "--runner=PortableRunner" in args[name]
        options = PipelineOptions(args[name])
        assert options.view_as(WorkerOptions).num_workers == workers
        assert options.view_as(DebugOptions).experiments == experiments


def test_a_frozen_graph_is_applied_with_the_options_of_transform(tmp_path: Path) -> None:
    config = load_config(
        _SIMULATED,
        [f"features.transform_graph={tmp_path}", "beam.components.Transform.options.project=abc"],
    )
    transform = _nodes(config)["Transform"]
    assert type(transform).__name__ == "ApplyTransform"
    options = PipelineOptions(transform.executor_spec.beam_pipeline_args)
    assert options.view_as(GoogleCloudOptions).project == "abc"


def test_options_of_one_component_change_no_other() -> None:
    """TFX reuses a component by its properties and executor, Beam's options among them."""
    before, after = (
        {
            name: (
                {key: _text(value) for key, value in node.exec_properties.items()},
                getattr(node.executor_spec, "beam_pipeline_args", None),
            )
            for name, node in _nodes(config).items()
        }
        for config in (
            _config(),
            _config(components={"Evaluator": {"options": {"direct_num_workers": 2}}}),
        )
    )
    assert {name for name in before if before[name] != after[name]} == {"Evaluator"}


def _text(value: Any) -> str:
    is_placeholder = hasattr(value, "encode") and not isinstance(value, str)
    return str(value.encode() if is_placeholder else value)
