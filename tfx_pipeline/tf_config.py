"""TF_CONFIG, which tells a worker of a multi-worker training who and where the workers are."""

from __future__ import annotations

import json
import os

from tfx_pipeline.config import Config
from transforms.problems import Problem

_EXAMPLE = (
    'For example {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}.'
)


def tf_config_problems(config: Config, *, first: bool) -> list[Problem]:
    """Where TF_CONFIG and `training.distribution` contradict each other, or it is none.

    Args:
      config: The run's config.
      first: Whether this is to be the first worker, which runs the pipeline, or another one.
    """
    text = os.environ.get("TF_CONFIG", "")
    wanted = config.training.distribution
    try:
        found = json.loads(text or "{}")
        cluster = dict(found.get("cluster", {}))
        task = dict(found.get("task", {}))
        workers = [str(address) for address in cluster.get("worker", [])]
    except (ValueError, TypeError, AttributeError):
        return [Problem("TF_CONFIG", text, "a cluster and a task as JSON", _EXAMPLE)]
    if wanted != "multi_worker":
        if len(workers) < 2 and set(cluster) <= {"worker"}:
            return []
        what = f"{len(workers)} workers, and training.distribution {wanted}"
        remedy = "Set training.distribution=multi_worker, or unset TF_CONFIG."
        return [Problem("TF_CONFIG", what, "a training in one process", remedy)]
    problems = []
    if others := sorted(set(cluster) - {"worker"}):
        problems.append(
            Problem("TF_CONFIG", f"the roles {', '.join(others)}", "workers alone", _EXAMPLE)
        )
    if len(workers) < 2:
        what = f"{len(workers)} workers, and training.distribution multi_worker" if text else "none"
        problems.append(Problem("TF_CONFIG", what, "two workers or more", _EXAMPLE))
    elif len(set(workers)) < len(workers):
        problems.append(
            Problem("TF_CONFIG", f"the workers {', '.join(workers)}", "different addresses")
        )
    index = task.get("index")
    if workers and not (task.get("type") == "worker" and index in range(len(workers))):
        problems.append(
            Problem(
                "TF_CONFIG",
                f"the task {json.dumps(task)}",
                f"a worker with an index from 0 to {len(workers) - 1}",
            )
        )
    elif len(workers) > 1 and (index == 0) != first:
        problems.append(
            Problem(
                "TF_CONFIG",
                f"the task index {index}",
                "0 for `equipoise run`, and 1 or more for `equipoise worker`",
            )
        )
    if len(workers) > 1 and config.training.batch_size % len(workers):
        problems.append(
            Problem(
                "training.batch_size",
                f"{config.training.batch_size} examples, and {len(workers)} workers",
                "a number that they can share equally",
            )
        )
    return problems
