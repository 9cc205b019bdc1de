"""The environment that compiles for Kubeflow, which has a lock of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[3]
CONFIG = _ROOT / "configs" / "simulated.yaml"

CompileJobs = Callable[..., list[dict[str, Any]]]


def compile_arguments(
    out: Path, settings: Sequence[str], *flags: str, config: Path = CONFIG
) -> list[str]:
    """Those of `equipoise compile`, of the simulated job if of no other."""
    sets = [part for setting in settings for part in ("--set", setting)]
    return [str(config), str(out), "--to", "kubeflow", *sets, *flags]


@pytest.fixture(scope="session")
def kubeflow_bin() -> Path:
    """Its scripts; `EQUIPOISE_KUBEFLOW` names another environment than `.venv-kubeflow`."""
    environment = Path(os.environ.get("EQUIPOISE_KUBEFLOW", _ROOT / ".venv-kubeflow"))
    if not (environment / "bin" / "equipoise").exists():
        pytest.skip(f"no environment {environment}; `make kubeflow` sets it up")
    return environment / "bin"


@pytest.fixture(scope="session")
def compile_jobs(kubeflow_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> CompileJobs:
    """Runs `equipoise compile` with each list of arguments, see `compile_jobs.py`."""

    def compile_jobs(*arguments: list[str]) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("compile_jobs")
        given, results = folder / "arguments.json", folder / "results.json"
        given.write_text(json.dumps(arguments))
        script = Path(__file__).with_name("compile_jobs.py")
        done = subprocess.run(
            [kubeflow_bin / "python", script, given, results],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(results.read_text())

    return compile_jobs
