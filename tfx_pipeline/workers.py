"""A training that is spread over devices or workers: in processes of its own.

The Trainer's process has used TensorFlow by the time it trains, and workers have to find each other
before that. So it writes the job down, starts a process that trains as the first worker, and takes
up what that leaves. Other workers wait for the job where checkpoints are kept, a folder that all of
them see (`equipoise worker`), and end with it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_models.model import RankingModel
from tfx_pipeline.config import Config
from tfx_pipeline.fit_model import TrainingJob, fit_model
from tfx_pipeline.whole_file import write_whole

_logger = logging.getLogger(__name__)

_JOB = "job.json"
_HISTORY = "history.json"
_POLL_SECONDS = 1.0


def fit_spread(job: TrainingJob) -> tuple[RankingModel, dict[str, Any]]:
    """Trains on the devices or workers that `training.distribution` says.

    Returns:
      The model, on one device, and its history as plain values.

    Raises:
      RuntimeError: if a worker failed; the training goes on from its last checkpoint when it is run
        again.
    """
    folder = Path(job.checkpoint_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _JOB, job.model_dump_json(), "the job of the workers")
    _start(folder / _JOB)
    model = job.build()
    checkpoint = tf.train.Checkpoint(model=model)
    checkpoint.read(job.trained).expect_partial().assert_existing_objects_matched()
    return model, json.loads((folder / _HISTORY).read_text(encoding="utf-8"))


def take_part(config: Config, checkpoint_root: Path, patience: float) -> None:
    """Waits for the job of a config, and trains as the worker that TF_CONFIG says.

    Args:
      config: The run's. A job of another one, which a run left that failed, is not taken up.
      checkpoint_root: Where the run's checkpoints are kept.
      patience: Seconds to wait for the job.

    Raises:
      TimeoutError: if there is none.
      RuntimeError: if this or another worker failed.
    """
    deadline = time.monotonic() + patience
    while not (jobs := _jobs_of(config, checkpoint_root)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{checkpoint_root}: no training began within {patience:.0f} s")
        time.sleep(_POLL_SECONDS)
    _start(jobs[-1])


def _jobs_of(config: Config, checkpoint_root: Path) -> list[Path]:
    """The jobs that train what the config says, the newest last."""
    found = []
    for path in checkpoint_root.glob(f"*/{_JOB}"):
        job = TrainingJob.model_validate_json(path.read_text(encoding="utf-8"))
        if _trained(job.config) == _trained(config):
            found.append(path)
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _trained(config: Config) -> dict[str, Any]:
    """What workers have to agree on; the rest is that of a day, or of no matter to training."""
    of_a_day: dict[str, Any] = {
        "training": {"start", "epochs"},
        "model": {"loss": {"decay_epochs"}},
    }
    return config.model_dump(include={"model", "tasks", "training", "scenario"}, exclude=of_a_day)


def _start(job: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "tfx_pipeline.workers", str(job)])
    if done.returncode:
        raise RuntimeError(
            f"a worker of {job} ended with status {done.returncode}: see what it printed. Start "
            "all workers again, and the training goes on from its last checkpoint."
        )


def _main(path: Path) -> None:
    job = TrainingJob.model_validate_json(path.read_text(encoding="utf-8"))
    strategy: tf.distribute.Strategy
    if job.config.training.distribution == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
        if strategy.num_replicas_in_sync == 1:
            _logger.warning("training.distribution is mirrored, and this machine has one device")
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        _, history = fit_model(job)
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec() or resolver.task_id == 0:
        text = json.dumps(history.to_dict())
        write_whole(path.parent / _HISTORY, text, "the training's history")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
