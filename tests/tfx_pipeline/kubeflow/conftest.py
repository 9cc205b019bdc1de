"""The environment that compiles for Kubeflow, which has a lock of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
CONFIG = _ROOT / "configs" / "simulated.yaml"

Compile = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def kubeflow_bin() -> Path:
    """Its scripts; `EQUIPOISE_KUBEFLOW` names another environment than `.venv-kubeflow`."""
    environment = Path(os.environ.get("EQUIPOISE_KUBEFLOW", _ROOT / ".venv-kubeflow"))
    if not (environment / "bin" / "equipoise").exists():
        pytest.skip(f"no environment {environment}; `make kubeflow` sets it up")
    return environment / "bin"


@pytest.fixture(scope="session")
def compile_job(kubeflow_bin: Path) -> Compile:
    """Runs `equipoise compile` on the simulated job, as a user does."""

    def compile_job(
        out: Path, settings: Sequence[str], *flags: str, config: Path = CONFIG
    ) -> subprocess.CompletedProcess[str]:
        sets = [part for setting in settings for part in ("--set", setting)]
        return subprocess.run(
            [kubeflow_bin / "equipoise", "compile", config, out, "--to", "kubeflow", *sets, *flags],
            capture_output=True,
            text=True,
            timeout=300,
        )

    return compile_job
