"""What the run of a day takes up, and what it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tfx import v1 as tfx

import tfx_pipeline
from tfx_pipeline import artifacts
from tfx_pipeline.components.parent import Parent
from tfx_pipeline.components.record_day import RecordDay
from tfx_pipeline.config import load_config
from tfx_pipeline.daily.ancestors import Ancestors, read_ancestors
from tfx_pipeline.daily.record import read_records
from transforms.problems import InputError

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml"


def test_a_day_without_a_parent_asks_for_a_lineage(tmp_path: Path) -> None:
    config = load_config(CONFIG)
    parent = artifacts.ParentPointer()
    parent.uri = str(tmp_path / "parent")
    (tmp_path / "parent").mkdir()
    given = {"parent": parent, "daily_dir": str(tmp_path / "daily"), "day": "2024-01-05"}
    with pytest.raises(InputError) as refused:
        Parent.test_call(**given, config=config.model_dump_json(), known="")
    (problem,) = refused.value.problems
    assert "no earlier day under" in problem.found and "--full" in problem.remedy
    assert list((tmp_path / "parent").iterdir()) == []
    Parent.test_call(**given, config=config.with_full(True).model_dump_json(), known="")
    assert read_ancestors(parent.uri).parent is None


@pytest.mark.parametrize("copies", [0, 1])
def test_where_artifacts_do_not_stay_copies_are_kept(tmp_path: Path, copies: int) -> None:
    types = tfx.types.standard_artifacts
    given = {
        "parent": artifacts.ParentPointer(),
        "model": types.Model(),
        "model_run": types.ModelRun(),
        "feature_state": artifacts.FeatureState(),
        "transform_graph": types.TransformGraph(),
        "statistics": types.ExampleStatistics(),
        "blessing": types.ModelBlessing(),
        "pushed_model": types.PushedModel(),
    }
    for name, artifact in given.items():
        artifact.uri = str(tmp_path / "run" / name)
        (tmp_path / "run" / name / "below").mkdir(parents=True)
        (tmp_path / "run" / name / "below" / "file").write_text(name)
    nothing = Ancestors(parent=None, state=None, baseline=None)
    artifacts.write_text(given["parent"].uri, "ancestors.json", nothing.model_dump_json())
    given["blessing"].set_int_custom_property("blessed", 1)
    given["pushed_model"].set_string_custom_property("pushed_version", "7")
    config = load_config(CONFIG).with_full(True).model_dump_json()
    daily = tmp_path / "daily"
    RecordDay.test_call(
        **given, daily_dir=str(daily), day="2024-01-05", key="", copies=copies, config=config
    )
    (record,) = read_records(str(daily)).values()
    assert record.blessed and record.version == 7 and len(record.key) == 16
    trained = Path(record.trained)
    assert trained.name == "trained"
    for name, folder in {
        "model": Path(record.model),
        "model_run": trained.parent,
        "feature_state": Path(record.feature_state),
        "transform_graph": Path(record.transform_graph),
        "statistics": Path(record.statistics),
    }.items():
        above = daily / "2024-01-05" / record.key if copies else tmp_path / "run"
        assert folder.parent == above
        assert (folder / "below" / "file").read_text() == name


def test_artifact_types_are_found_by_their_names() -> None:
    """As Kubeflow's containers look for them."""
    found = {
        kind.TYPE_NAME: kind
        for kind in vars(artifacts).values()
        if isinstance(kind, type) and issubclass(kind, tfx.dsl.Artifact)
    }
    assert len(found) == 7
    for name, kind in found.items():
        package, _, title = name.rpartition(".")
        assert package == "tfx_pipeline" and getattr(tfx_pipeline, title) is kind
    for other in ("Ancestors", "Nothing", "nothing"):
        with pytest.raises(AttributeError, match=other):
            getattr(tfx_pipeline, other)


def test_the_package_alone_imports_nothing_heavy() -> None:
    program = "import sys, tfx_pipeline; sys.exit('tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
