"""16 clients for a minute without an error, and 20 versions swapped under their load.

    python benchmarks/serving_load.py [--versions DIR]

A model of KuaiRand-Pure (trained here, shortly, unless a folder of versions is given) behind the
local stand-in for TensorFlow Serving, in a process of its own, over loopback. First 16 threads, a
connection each, send 10 rows at a time for 60 s: no error, and the slowest hundredth takes less
than five times as long as the median. Then they go on while 20 versions are pushed, each after the
one before it answers: no request fails.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from support.model_server import (
    MODEL,
    Server,
    arguments,
    examples,
    percentile,
    push_again,
    pushed_model,
    served,
)

from serving.client import Client, PredictError

CLIENTS = 16
SECONDS = 60.0
ROWS = 10
SWAPS = 20
TARGET = 5.0


class Load:
    """Threads that ask without pause while the block runs.

    Attributes:
      seconds: Of each request that was answered.
      errors: Of those that were not, by status.
      versions: Requests by the version that answered.
    """

    def __init__(self, server: Server, rows: np.ndarray):
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()
        self._server, self._rows = server, rows
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        rng = np.random.default_rng(number)
        with Client(self._server.address, timeout=30, retries=0) as client:
            while not self._done.is_set():
                inputs = {"examples": rng.choice(self._rows, ROWS)}
                start = time.perf_counter()
                try:
                    client.call(MODEL, "serving_default", inputs)
                except PredictError as error:
                    self.errors[error.code.name] += 1
                else:
                    self.seconds.append(time.perf_counter() - start)


def concurrency(server: Server, rows: np.ndarray) -> dict[str, Any]:
    """The claim on latency."""
    with Load(server, rows) as warm_up:
        time.sleep(3)
    with Load(server, rows) as load:
        time.sleep(SECONDS)
    median, slow = percentile(load.seconds, 50), percentile(load.seconds, 99)
    print(
        f"{len(load.seconds):,} requests of {ROWS} rows, {sum(load.errors.values())} errors: "
        f"p50 {median:.1f} ms, p99 {slow:.1f} ms"
    )
    errors = dict(warm_up.errors + load.errors)
    return {
        "name": "serving_concurrency",
        "value": round(slow / median, 2),
        "unit": f"p99 / p50, {CLIENTS} clients for {SECONDS:.0f} s, and no error",
        "target": TARGET,
        "holds": slow < TARGET * median and not errors,
        "details": {
            "requests": len(load.seconds),
            "requests_per_second": round(len(load.seconds) / SECONDS, 1),
            "rows_per_request": ROWS,
            "errors": errors,
            "p50_ms": round(median, 2),
            "p99_ms": round(slow, 2),
            "load_average": os.getloadavg()[0],
        },
    }


def swaps(server: Server, base: Path, rows: np.ndarray) -> dict[str, Any]:
    """The claim on hot swaps."""
    answered = []
    with Load(server, rows) as load, Client(server.address, timeout=30) as client:
        for number in range(SWAPS):
            version = push_again(base, number)
            end = time.monotonic() + 120
            while client.status(MODEL)[0][:2] != (version, "AVAILABLE"):
                assert time.monotonic() < end, f"version {version} does not come"
                time.sleep(0.05)
            answered.append(version)
    failed = sum(load.errors.values())
    print(f"{len(answered)} versions, {len(load.seconds):,} requests, {failed} failed")
    return {
        "name": "serving_swaps",
        "value": failed,
        "unit": f"failed requests while {SWAPS} versions were swapped",
        "target": 0,
        "holds": failed == 0 and len(answered) == SWAPS,
        "details": {
            "requests": len(load.seconds),
            "errors": dict(load.errors),
            "p50_ms": round(percentile(load.seconds, 50), 2),
            "p99_ms": round(percentile(load.seconds, 99), 2),
        },
    }


def main() -> None:
    """Prints both, then as JSON."""
    given = arguments(__doc__)
    if given.versions is None and not Path(given.data).is_dir():
        print(f"skipped: no folder {given.data}; give that of KuaiRand-Pure's files")
        return
    with pushed_model(given) as base, served(base, "--poll-seconds", "0.2") as server:
        with Client(server.address, timeout=30) as client:
            rows = examples(client, given.data, 5_000)
        claims = [concurrency(server, rows), swaps(server, base, rows)]
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
