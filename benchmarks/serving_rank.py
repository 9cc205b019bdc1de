"""One user with N candidates: `rank` against N serialized examples through `serving_default`.

    python benchmarks/serving_rank.py [--candidates 100] [--versions DIR] [--history-versions DIR]

Models of KuaiRand-Pure behind the local stand-in for TensorFlow Serving, in a process of its own,
over loopback: one without histories (PLE), one that reads up to 50 behaviours (DUPN); trained here,
shortly, unless folders of versions are given. Both requests ask the same of the same real rows, are
built before the clock starts, and take turns; their answers agree to 1e-6. Throughput is that of
one client that asks without pause.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
from support.model_server import DATA, EQUIPOISE, MODEL, ROOT, percentile, served

from serving import versions
from serving.client import Client
from serving.client_examples import serialized_example

ROUNDS = 40
CALLS = 10
HISTORY = [
    "features.history={items: [video_id, author_id], labels: [click, long_view], length: 50}",
    "model.preset=dupn",
]


def main() -> None:
    """Prints both requests' throughput and latency, and their ratios as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default=str(DATA), help="folder of KuaiRand-Pure's files")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--versions", type=Path, help="versions of a model without histories")
    parser.add_argument("--history-versions", type=Path, help="versions of a model with histories")
    given = parser.parse_args()
    if not Path(given.data).is_dir():
        print(f"skipped: no folder {given.data}; give that of KuaiRand-Pure's files")
        return
    found = []
    for name, folder, settings, target in (
        ("rank", given.versions, ["model.preset=ple"], 2.0),
        ("rank_with_history", given.history_versions, HISTORY, 4.0),
    ):
        with trained(folder, given.data, settings) as base, served(base) as server:
            result = compare(server.address, base, given.candidates)
        ratio = result["serving_default"]["seconds"] / result["rank"]["seconds"]
        for signature, figures in result.items():
            print(f"{name}, {signature}: {figures}", flush=True)
        lower_p99 = result["rank"]["p99_ms"] < result["serving_default"]["p99_ms"]
        found.append(
            {
                "name": f"serving_{name}_throughput",
                "value": round(ratio, 2),
                "unit": "times that of serving_default",
                "target": target,
                "holds": ratio >= target and lower_p99,
                "details": {"candidates": given.candidates, **result},
            }
        )
    print(json.dumps(found))


@contextlib.contextmanager
def trained(folder: Path | None, data: str, settings: list[str]) -> Iterator[Path]:
    """A folder of versions."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as workdir:
        sets = [f"data.path={data}", "training.epochs=1", "data.train=2022-05-02..2022-05-03"]
        options = [part for setting in [*sets, *settings] for part in ("--set", setting)]
        config = str(ROOT / "configs/kuairand.yaml")
        command = [str(EQUIPOISE), "run", config, "--workdir", workdir, *options]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit("equipoise run pushed no model")
        yield Path(workdir, "serving", MODEL)


def compare(address: str, base: Path, candidates: int) -> dict[str, dict[str, Any]]:
    """Seconds and latencies of both requests, taking turns."""
    with Client(address, timeout=60) as client:
        matrices = {
            name: np.resize(rows, [candidates, rows.shape[1]]) if name.startswith("item") else rows
            for name, rows in warmup_matrices(base).items()
        }
        inputs = {"rank": matrices, "serving_default": {"examples": as_examples(client, matrices)}}
        answers = {name: client.call(MODEL, name, given) for name, given in inputs.items()}
        for task, values in answers["rank"].items():
            np.testing.assert_allclose(values, answers["serving_default"][task], atol=1e-6)
        seconds: dict[str, list[float]] = {name: [] for name in inputs}
        for _ in range(ROUNDS):
            for name, given in inputs.items():
                for _ in range(CALLS):
                    started = time.perf_counter()
                    client.call(MODEL, name, given)
                    seconds[name].append(time.perf_counter() - started)
    behaviours = len(matrices["history_text"]) if "history_text" in matrices else 0
    return {
        name: {
            "seconds": round(sum(taken), 3),
            "calls": len(taken),
            "p50_ms": round(percentile(taken, 50), 2),
            "p99_ms": round(percentile(taken, 99), 2),
            "behaviours": behaviours,
        }
        for name, taken in seconds.items()
    }


def warmup_matrices(base: Path) -> dict[str, np.ndarray]:
    """The request to `rank` among those that a version is warmed up with."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    from serving.warmup import WARMUP_REQUESTS

    newest = versions.latest(base)
    assert newest is not None, f"{base}: no version"
    for record in tf.data.TFRecordDataset(str(newest[1] / WARMUP_REQUESTS)):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        if request.model_spec.signature_name == "rank":
            return {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
    raise SystemExit(f"{newest[1]}: no warm-up request to rank")


def as_examples(client: Client, matrices: dict[str, np.ndarray]) -> np.ndarray:
    """The same as an example a candidate, bytes [N]."""
    columns = client.columns(MODEL)

    def row(side: str, place: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind in ("text", "numbers"):
            name = f"{side}_{kind}"
            if name in matrices:
                values = matrices[name][place].tolist()
                found |= zip(columns.matrices[name], values, strict=True)
        missing = (b"\xff", None)
        return {n: v for n, v in found.items() if v not in missing and v == v}

    user = row("user", 0)
    for kind in ("text", "numbers"):
        name = f"history_{kind}"
        if name in matrices:
            user |= zip(columns.matrices[name], matrices[name].T.tolist(), strict=True)
    count = len(matrices["item_text"])
    rows = [{**user, **row("item", i)} for i in range(count)]
    found = [serialized_example(f"row {i}", row, columns) for i, row in enumerate(rows, 1)]
    return np.array(found, object)


if __name__ == "__main__":
    main()
