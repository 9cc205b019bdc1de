"""What changes of the code TFX's cache notices, and which it has no business with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tfx import v1 as tfx

from tfx_pipeline.code_version import code_version, import_closure
from tfx_pipeline.config import load_config
from tfx_pipeline.pipeline import PROGRAM, create_pipeline, entry_points

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("keras_models", "serving", "tfx_pipeline", "transforms")

OF_A_DAY = {"Parent", "FrozenGraph", "Baseline", "RecordDay"}
READS_CONFIG = {"LogExampleGen", "Trainer", "ModelCheck", "Gate", "Pusher", "Report"} | OF_A_DAY
CHANGES = {
    "tfx_pipeline/build_model.py": {"Trainer"},
    "tfx_pipeline/embedding_config.py": {"Trainer"},
    "tfx_pipeline/components/trainer.py": {"Trainer"},
    "tfx_pipeline/mean_gates.py": {"Trainer"},
    "keras_models/backbones/ple.py": {"Trainer"},
    "serving/export.py": {"Trainer"},
    # What the config says, and which days the run of a day has.
    "tfx_pipeline/config/plug_in_columns.py": READS_CONFIG,
    "tfx_pipeline/daily/ancestors.py": READS_CONFIG - {"ModelCheck", "Gate"},
    # Ingestion.
    "transforms/past_behaviours.py": {"LogExampleGen"},
    "tfx_pipeline/inputs.py": {"LogExampleGen", "Trainer", "ModelCheck", "Gate", "Report"},
    # tf.Transform.
    "transforms/preprocessing.py": {"Transform"},
    "tfx_pipeline/components/apply_transform.py": {"ApplyTransform"},
    # After the training.
    "tfx_pipeline/cell_metrics.py": {"Evaluator"},
    "keras_models/metrics.py": {"Evaluator", "Trainer", "Gate"},
    "tfx_pipeline/model_check/agreement.py": {"ModelCheck"},
    "tfx_pipeline/gate/bootstrap.py": {"Gate"},
    # Of a SavedModel's folder all know; the delta's sync file lies in one.
    "serving/versions.py": {"Baseline", "Pusher", "ModelCheck", "Trainer"},
    "tfx_pipeline/components/record_day.py": {"RecordDay"},
    # Templates.
    "tfx_pipeline/templates/card/model_card.md": {"Pusher"},
    "tfx_pipeline/templates/pages/report/cells.html": {"Report"},
    # No component's.
    "tfx_pipeline/cli/run.py": set(),
    "tfx_pipeline/simulate.py": set(),
    "serving/model_server/server.py": set(),
    "tfx_pipeline/runners/local.py": set(),
}

"""Files, and the components that import them; none of these sets was worked out by our code."""


@pytest.fixture(scope="module")
def components() -> dict[str, tfx.types.BaseComponent]:
    """Of a run of the config's own days and of the run of a day, those of ours and TFX's alike."""
    config = load_config(ROOT / "configs" / "simulated.yaml", ["data.path=logs"])
    found = {}
    for day, name in (("2024-01-05", "ApplyTransform"), ("", "Transform")):
        pipeline = create_pipeline(config, workdir="work", day=day)
        for component in pipeline.components:
            found[name if component.id == "Transform" else component.id] = component
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def before(components: dict[str, tfx.types.BaseComponent], copy: Path) -> dict[str, str]:
    return keys(components, copy)


def keys(components: dict[str, tfx.types.BaseComponent], root: Path) -> dict[str, str]:
    return {
        name: code_version(*entry_points(component), root=root)
        for name, component in components.items()
    }


def test_every_component_has_its_code_among_its_parameters(
    components: dict[str, tfx.types.BaseComponent], before: dict[str, str]
) -> None:
    found = {name: component.exec_properties["code"] for name, component in components.items()}
    assert found == before, "the copy's is that of the project"


@pytest.mark.parametrize("file", CHANGES)
def test_an_edit_changes_the_keys_that_it_must_and_no_other(
    components: dict[str, tfx.types.BaseComponent],
    copy: Path,
    before: dict[str, str],
    file: str,
) -> None:
    source = (copy / file).read_bytes()
    (copy / file).write_bytes(source + b"\n# Changed.\n")
    try:
        after = keys(components, copy)
    finally:
        (copy / file).write_bytes(source)
    assert {name for name in after if after[name] != before[name]} == CHANGES[file]


def test_what_an_entry_point_loads_is_in_its_closure(
    components: dict[str, tfx.types.BaseComponent],
) -> None:
    """As Python itself imports it; what functions import is beyond that."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    ours = [n for n in sys.modules if n.split('.')[0] in PACKAGES]\n"
        "    print(name, *(sys.modules.pop(n).__file__ for n in ours))\n"
    ).replace("PACKAGES", repr(PACKAGES))
    names = {name for component in components.values() for name in entry_points(component)}
    ours = sorted(name for name in names if name.startswith(PACKAGES))
    done = subprocess.run(
        [sys.executable, "-c", program, *ours], capture_output=True, text=True, check=True
    )
    loaded = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in loaded] == ours
    for name, *files in loaded:
        assert len(files) > 2
        assert set(map(Path, files)) <= set(import_closure([name])), name


def test_the_program_is_that_of_all_components(
    components: dict[str, tfx.types.BaseComponent],
) -> None:
    every = {name for component in components.values() for name in entry_points(component)}
    assert set(import_closure(every)) <= set(import_closure(PROGRAM))
    assert not [f for f in import_closure(PROGRAM) if f.parent.name in ("cli", "model_server")]


def test_another_version_of_the_platform_is_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version("transforms.keys")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert code_version("transforms.keys") != before


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="transforms.no_such_module"):
        code_version("transforms.no_such_module")
