"""Fixtures that every tier shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_KUAIRAND = Path(__file__).resolve().parents[2] / "shared" / "data" / "kuairand_pure"


@pytest.fixture(scope="session")
def kuairand_dir() -> Path:
    """Folder with days of KuaiRand-Pure; `EQUIPOISE_KUAIRAND` points elsewhere."""
    folder = Path(os.environ.get("EQUIPOISE_KUAIRAND", _KUAIRAND))
    if not folder.is_dir():
        pytest.skip(f"KuaiRand-Pure is not at {folder}; set EQUIPOISE_KUAIRAND to its folder")
    return folder
