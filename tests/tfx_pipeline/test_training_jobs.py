"""Which trainings a worker takes up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfx_pipeline import workers
from tfx_pipeline.config import load_config
from tfx_pipeline.fit_model import TrainingJob

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"


def write(root: Path, name: str, seconds: int, *sets: str) -> Path:
    job = TrainingJob(
        config=load_config(CONFIG, list(sets)),
        transform_output="graph",
        train_files=["train"],
        valid_files=[],
        learn_valid=False,
        checkpoint_dir=str(root / name),
        log_dir="logs",
    )
    path = root / name / "job.json"
    path.parent.mkdir()
    path.write_text(job.model_dump_json())
    os.utime(path, (seconds, seconds))
    return path


def test_those_of_its_own_config_the_newest_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(workers, "_start", started.append)
    config = load_config(CONFIG)
    write(tmp_path, "other", 30, "training.learning_rate=0.5")
    with pytest.raises(TimeoutError, match="no training began within 0 s"):
        workers.take_part(config, tmp_path, patience=0)
    write(tmp_path, "old", 10)
    # The config of a day: other days, and other passes over them.
    newest = write(tmp_path, "new", 20, "data.eval=2024-01-08", "training.epochs=1")
    workers.take_part(config, tmp_path, patience=0)
    assert started == [newest]
