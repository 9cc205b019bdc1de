"""The server's resident memory stays flat, within 5%, over 100,000 requests.

    python benchmarks/serving_memory.py [--versions DIR]

A model of KuaiRand-Pure (trained here, shortly, unless a folder of versions is given) behind the
local stand-in for TensorFlow Serving, in a process of its own. 8 threads send one row at a time,
one request in twenty of them wrong, over gRPC, and REST in turn with it. After the first 10,000
requests the memory is taken as what it needs; the claim is on the most that it holds after that.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from support.model_server import MODEL, Server, arguments, examples, pushed_model, served

from serving.client import Client, PredictError

REQUESTS = 100_000
WARM_UP = 10_000
THREADS = 8
REST_SHARE = 10
WRONG_SHARE = 20
TARGET = 5.0


def ask(server: Server, rows: np.ndarray, numbers: Iterator[int], seen: list[int]) -> None:
    """Sends requests until there are no more numbers."""
    rest = http.client.HTTPConnection(server.rest_address, timeout=60)
    with Client(server.address, timeout=60) as client, contextlib.closing(rest):
        for number in numbers:
            row = rows[number % len(rows)]
            if number % WRONG_SHARE == 0:
                with contextlib.suppress(PredictError):
                    client.call(f"nobody {number}", "serving_default", {"examples": [row]})
            elif number % REST_SHARE == 1:
                body = {"instances": [{"b64": base64.b64encode(row).decode()}]}
                rest.request("POST", f"/v1/models/{MODEL}:predict", json.dumps(body))
                response = rest.getresponse()
                assert response.status == 200, response.read()
                response.read()
            else:
                client.call(MODEL, "serving_default", {"examples": [row]})
            if number % 1_000 == 0:
                seen.append(server.resident_bytes())


class Numbers:
    """Counts up for several threads."""

    def __init__(self, start: int, end: int):
        self._numbers = iter(range(start, end))
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


def send(server: Server, rows: np.ndarray, start: int, end: int) -> list[int]:
    """Sends so many requests; gives the resident bytes after each thousand."""
    seen: list[int] = []
    numbers = Numbers(start, end)
    threads = [
        threading.Thread(target=ask, args=(server, rows, numbers, seen)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [*seen, server.resident_bytes()]


def main() -> None:
    """Prints the memory, then as JSON."""
    given = arguments(__doc__)
    if given.versions is None and not Path(given.data).is_dir():
        print(f"skipped: no folder {given.data}; give that of KuaiRand-Pure's files")
        return
    with pushed_model(given) as base, served(base) as server:
        with Client(server.address, timeout=30) as client:
            rows = examples(client, given.data, 5_000)
        before = send(server, rows, 0, WARM_UP)[-1]
        print(f"after {WARM_UP:,} requests {before / 2**20:.0f} MiB")
        seen = send(server, rows, WARM_UP, REQUESTS)
    growth = 100 * (max(seen) / before - 1)
    print(f"after {REQUESTS:,} requests {seen[-1] / 2**20:.0f} MiB, most {max(seen) / 2**20:.0f}")
    claim = {
        "name": "serving_memory",
        "value": round(growth, 2),
        "unit": f"% more resident memory, at most, over {REQUESTS:,} requests",
        "target": TARGET,
        "holds": growth <= TARGET,
        "details": {
            "mebibytes_before": round(before / 2**20, 1),
            "mebibytes_after": round(seen[-1] / 2**20, 1),
            "mebibytes_every_10000": [round(size / 2**20) for size in seen[9::10]],
        },
    }
    print(json.dumps(claim))


if __name__ == "__main__":
    main()
