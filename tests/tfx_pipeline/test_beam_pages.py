"""The configs of the pages on Beam's runners: each makes a pipeline that its runner would take."""

from __future__ import annotations

import copy
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as beam_proto
from apache_beam.runners.common import validate_pipeline_graph
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineResult, PipelineState
from tfx import v1 as tfx

from tfx_pipeline.components.apply_transform import ApplyTransform
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.inputs import log_schema, splits
from tfx_pipeline.runners.beam_options import pipeline_args
from tfx_pipeline.runners.beam_problems import beam_problems
from transforms.ingest import Ingest, Plan
from transforms.row_reader import LogFile

from .small_graph import write_graph

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = sorted((_ROOT / "docs" / "how-to").glob("beam*.md"))
_PACKAGES = ("tfx_pipeline", "transforms", "keras_models", "serving")
_BLOCKS = {
    f"{page.stem}-{i}": block
    for page in _PAGES
    for i, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.M | re.S))
}
_CLUSTER = {name: block for name, block in _BLOCKS.items() if name.startswith("beam-on-")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, where `./setup.py` is found and building it leaves no trace in this one."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, folder / package, ignore=ignored)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(_ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_graph(tmp_path_factory.mktemp("graph"))


def _config(block: str, folder: Path) -> Config:
    raw = {"extends": str(_ROOT / "configs" / "simulated.yaml"), **yaml.safe_load(block)}
    path = folder / "page.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_config(path)


def _ingest(config: Config) -> Ingest:
    out = "/never/written"
    files = (LogFile(0, "/logs/a.csv", "csv", None),)
    plan = Plan(
        *(files, log_schema(config), splits(config)),
        partitions=2,
        **{name: f"{out}/{name}" for name in ("tables", "examples", "rejected", "state")},
        **{name: f"{out}/{name}" for name in ("tally", "scratch")},
    )
    return Ingest(plan)


def test_every_page_shows_configs() -> None:
    assert {page.stem for page in _PAGES} == {
        *("beam", "beam-on-dataflow", "beam-on-flink", "beam-on-spark")
    }
    assert len(_CLUSTER) == 6


def test_the_hubs_config_is_sound(tmp_path: Path) -> None:
    assert beam_problems(_config(_BLOCKS["beam-0"], tmp_path)) == []


@pytest.mark.e2e
@pytest.mark.parametrize("name", _CLUSTER)
def test_the_pipeline_of_a_page_is_one_that_its_runner_takes(
    name: str,
    source: Path,
    inputs: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(source)
    config = _config(_CLUSTER[name], tmp_path)
    assert beam_problems(config) == []
    handed_over: list[beam_proto.Pipeline] = []

    def validate_only(
        runner: Any, pipeline: beam_proto.Pipeline, options: PipelineOptions
    ) -> PipelineResult:
        """In place of handing a pipeline to a job server."""
        validate_pipeline_graph(pipeline)
        handed_over.append(copy.deepcopy(pipeline))
        validate_pipeline_graph(runner._optimize_pipeline(pipeline, options))
        result = PipelineResult(PipelineState.DONE)
        result.wait_until_finish = lambda duration=None: PipelineState.DONE
        return result

    monkeypatch.setattr(PortableRunner, "run_portable_pipeline", validate_only)

    def made(component: str, build: Any) -> beam_proto.Pipeline:
        # Dataflow has such a stop of its own.
        dry = ["--dry_run=True"] if config.beam.of(component)[0] == "dataflow" else []
        pipeline = beam.Pipeline(argv=[*pipeline_args(config.beam, component), *dry])
        build(pipeline)
        return pipeline.runner.proto_pipeline if dry else handed_over.pop()

    def ingest(pipeline: beam.Pipeline) -> None:
        with pipeline:
            pipeline | _ingest(config)

    def apply_transform(pipeline: beam.Pipeline) -> None:
        transformed = tfx.types.standard_artifacts.Examples()
        transformed.uri = str(tmp_path / "transformed")
        ApplyTransform.test_call(**inputs, transformed_examples=transformed, beam_pipeline=pipeline)

    for component, build, step in (
        ("LogExampleGen", ingest, "WriteExamples"),
        ("Transform", apply_transform, "Encode[train]"),
    ):
        proto = made(component, build)
        names = {transform.unique_name for transform in proto.components.transforms.values()}
        assert any(step in name for name in names)
        options = config.beam.of(component)[1]
        assert {"setup_file", "sdk_container_image"} & options.keys()
        _check_environment(proto, options)
        # Every DoFn, coder and side input is there again for whoever reads it.
        again = beam.Pipeline.from_runner_api(
            proto, beam.runners.DirectRunner(), PipelineOptions([])
        ).to_runner_api()
        validate_pipeline_graph(again)
        assert len(_par_dos(again)) == len(_par_dos(proto)) > 8


def _par_dos(proto: beam_proto.Pipeline) -> list[beam_proto.ParDoPayload]:
    return [
        beam_proto.ParDoPayload.FromString(transform.spec.payload)
        for transform in proto.components.transforms.values()
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn
    ]


def _check_environment(proto: beam_proto.Pipeline, options: Any) -> None:
    """What DoFns run in is what the options say, with the packages if they are to be sent."""
    kinds = common_urns.environments
    wanted = str(options.get("environment_type", "DOCKER"))
    given = [options.get(name) for name in ("sdk_container_image", "environment_config")]
    shown = " ".join(map(str, [*given, *options.get("environment_options", [])]))
    environments = proto.components.environments.values()
    assert environments
    for environment in environments:
        payload: Any
        if wanted == "EXTERNAL":
            assert environment.urn == kinds.EXTERNAL.urn
            payload = beam_proto.ExternalPayload.FromString(environment.payload)
            assert payload.endpoint.url in shown
        elif wanted == "PROCESS":
            assert environment.urn == kinds.PROCESS.urn
            payload = beam_proto.ProcessPayload.FromString(environment.payload)
            assert payload.command in shown and payload.env["TF_USE_LEGACY_KERAS"] == "1"
        else:
            assert environment.urn == kinds.DOCKER.urn
            payload = beam_proto.DockerPayload.FromString(environment.payload)
            image = payload.container_image
            assert image in shown or image.endswith(f"beam_python3.10_sdk:{beam.__version__}")
        staged = [
            beam_proto.ArtifactFilePayload.FromString(artifact.type_payload).path
            for artifact in environment.dependencies
        ]
        packages = [path for path in staged if path.endswith(".tar.gz")]
        assert len(packages) == ("setup_file" in options)
        for package in packages:
            _check_package(Path(package))


def _check_package(path: Path) -> None:
    """All that the packages hold is in what workers install."""
    with tarfile.open(path) as package:
        found = {name.partition("/")[2] for name in package.getnames()}
    expected = {
        str(file.relative_to(_ROOT))
        for name in _PACKAGES
        for file in (_ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert expected - found == set()
