from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("tfx_pipeline", "transforms", "keras_models", "serving")


def test_the_wheel_holds_the_four_packages_whole(tmp_path):
    source = tmp_path / "source"
    for package in _PACKAGES:
        shutil.copytree(
            _ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(_ROOT / name, source)
    shutil.copytree(_ROOT / "tests", source / "tests")
    files = {
        str(file.relative_to(source))
        for package in _PACKAGES
        for file in (source / package).rglob("*")
        if file.is_file()
    }

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", tmp_path, source],
        check=True,
    )  # fmt: skip

    with zipfile.ZipFile(tmp_path / "equipoise-0.1.0-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = wheel.read("equipoise-0.1.0.dist-info/entry_points.txt").decode()
    assert names == files
    assert "equipoise = tfx_pipeline.cli:main" in entry_points
