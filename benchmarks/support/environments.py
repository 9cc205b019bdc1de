"""The rivals' environments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_environment(name: str) -> None:
    """Makes `.venv-NAME` from `requirements/NAME.txt`."""
    uv, folder = Path(sys.executable).with_name("uv"), ROOT / f".venv-{name}"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
    lock = ROOT / f"requirements/{name}.txt"
    subprocess.run([uv, "pip", "sync", "-q", lock], env=environment, check=True)
