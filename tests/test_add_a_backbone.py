"""docs/how-to/add-a-backbone.md does what it says: its blocks, in a copy of the packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "how-to" / "add-a-backbone.md"
_MOST_LINES = 60

_USE_IT = """
import pathlib, yaml
import tensorflow as tf
from tfx_pipeline.build_model import build_model
from tfx_pipeline.config import load_config
raw = yaml.safe_load(pathlib.Path("simulated.yaml").read_text())
raw["model"] = yaml.safe_load(pathlib.Path("page.yaml").read_text())["model"]
pathlib.Path("job.yaml").write_text(yaml.safe_dump(raw))
config = load_config("job.yaml", ["model.embedding.capacity=64"])
model = build_model(config, num_numbers=0)
spec = model.feature_spec.items()
logits = model({name: tf.zeros([2, *s.shape[1:]], s.dtype) for name, s in spec})
print(type(model.network._backbone).__name__, logits.shape)
"""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_adds_a_backbone(tmp_path: Path) -> None:
    for package in ("keras_models", "serving", "tfx_pipeline", "transforms", "tests"):
        shutil.copytree(_ROOT / package, tmp_path / package)
    for file in ("configs/simulated.yaml", "pyproject.toml"):
        shutil.copy(_ROOT / file, tmp_path)
    paths = re.findall(r"^`(\S+\.py)`:$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    files = _blocks("python")
    for path, text in zip(paths, files, strict=True):
        (tmp_path / path).write_text(text)
    (diff,), (config,) = _blocks("diff"), _blocks("yaml")
    (tmp_path / "page.yaml").write_text(config)
    lines = [line for text in files for line in text.splitlines() if line.strip()]
    assert len(lines) + len(re.findall(r"^\+(?!\+\+ )", diff, re.MULTILINE)) < _MOST_LINES

    def run(*command: str, **options: str) -> str:
        environment = {"PYTHONPATH": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, **options
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(shutil.which("git") or "git", "apply", "-C1", "-", input=diff)
    assert run(sys.executable, "-c", _USE_IT).split()[0] == "SingleTask"
    tests = [paths[1], "tests/tfx_pipeline/test_build_model.py"]
    done = run(sys.executable, "-m", "pytest", "-q", "-k", "single_task or has_a_name", *tests)
    assert "3 passed" in done
