"""Killed under load and started again, the server serves whole versions; damaged ones never.

    python benchmarks/serving_kill.py [--versions DIR]

A model of KuaiRand-Pure (trained here, shortly, unless a folder of versions is given) behind the
local stand-in for TensorFlow Serving. Ten times: requests flow, a new version is pushed, the server
is killed (SIGKILL) at a random moment of loading it, and started again; then the newest version
answers as the first one did, and the folder holds nothing but whole versions. After that a new
version comes damaged in five ways while requests flow: none fails, and the old version goes on
answering.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from support.model_server import (
    MODEL,
    arguments,
    examples,
    push_again,
    pushed_model,
    served,
    start,
)

from serving import versions
from serving.client import Client, PredictError

KILLS = 10


@contextlib.contextmanager
def load(address: str, rows: np.ndarray, threads: int) -> Iterator[list[str]]:
    """Asks without pause while the block runs; gives what failed."""
    done, failed = threading.Event(), list[str]()

    def ask() -> None:
        with Client(address, timeout=30, retries=0) as client:
            while not done.is_set():
                try:
                    client.call(MODEL, "serving_default", {"examples": rows[:10]})
                except PredictError as error:
                    failed.append(str(error))

    askers = [threading.Thread(target=ask) for _ in range(threads)]
    for asker in askers:
        asker.start()
    try:
        yield failed
    finally:
        done.set()
        for asker in askers:
            asker.join()


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether all scores are equal."""
    return all(np.array_equal(one[name], other[name]) for name in one)


def killed(base: Path, data: str) -> tuple[int, np.ndarray, dict[str, np.ndarray]]:
    """How often it came back well; and rows with their scores."""
    draw = random.Random(1)
    server = start(base, "--poll-seconds", "0.1")
    with Client(server.address, timeout=30) as client:
        rows = examples(client, data, 100)
        expected = client.call(MODEL, "serving_default", {"examples": rows})
    well = 0
    for number in range(KILLS):
        with load(server.address, rows, threads=4):
            version = push_again(base, number)
            time.sleep(draw.uniform(0, 1))
            server.kill()
        server = start(base, "--poll-seconds", "0.1")
        with Client(server.address, timeout=30) as client:
            scores = client.call(MODEL, "serving_default", {"examples": rows})
            newest = client.status(MODEL)[0]
        whole = {path.name for path in base.iterdir()} - {".push.lock"}
        well += (
            same(scores, expected)
            and newest[:2] == (version, "AVAILABLE")
            and whole == set(map(str, versions.numbers(base)))
        )
        print(f"kill {number + 1}: version {newest.version} {newest.state}")
    server.kill()
    return well, rows, expected


def damages() -> dict[str, Callable[[Path], Any]]:
    """Ways to damage a version, by name."""

    def cut(pattern: str) -> Callable[[Path], None]:
        def damage(version: Path) -> None:
            (file,) = version.glob(pattern)
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

        return damage

    def warm_up(version: Path) -> None:
        (version / "assets.extra").mkdir(exist_ok=True)
        (version / "assets.extra/tf_serving_warmup_requests").write_bytes(b"no requests" * 10)

    return {
        "graph cut": cut("saved_model.pb"),
        "values cut": cut("variables/variables.data-*"),
        "index cut": cut("variables/variables.index"),
        "no values": lambda version: shutil.rmtree(version / "variables"),
        "warm-up of nothing": warm_up,
    }


def damaged(base: Path, rows: np.ndarray, expected: dict[str, np.ndarray]) -> list[str]:
    """What went wrong."""
    wrong = []
    with served(base, "--poll-seconds", "0.1") as server:
        with Client(server.address, timeout=30) as client:
            good = client.status(MODEL)[0].version
            for number, (name, damage) in enumerate(damages().items(), 1):
                version = good + number
                with load(server.address, rows, threads=1) as failed:
                    beside = base / f".tmp-{version}"
                    shutil.copytree(base / str(good), beside)
                    damage(beside)
                    beside.rename(base / str(version))
                    end = time.monotonic() + 120
                    while client.status(MODEL)[0][:2] != (version, "END"):
                        assert time.monotonic() < end, f"{name}: {client.status(MODEL)[0]}"
                        time.sleep(0.1)
                    scores = client.call(MODEL, "serving_default", {"examples": rows})
                print(f"{name}: {client.status(MODEL)[0].error[:100]!r}")
                wrong += failed
                if not same(scores, expected):
                    wrong.append(f"{name}: other scores")
                shutil.rmtree(base / str(version))
    return wrong


def main() -> None:
    """Prints both, then as JSON."""
    given = arguments(__doc__)
    if given.versions is None and not Path(given.data).is_dir():
        print(f"skipped: no folder {given.data}; give that of KuaiRand-Pure's files")
        return
    with pushed_model(given) as base:
        well, rows, expected = killed(base, given.data)
        wrong = damaged(base, rows, expected)
    for line in wrong[:10]:
        print(line)
    claims = [
        {
            "name": "serving_kill",
            "value": well,
            "unit": f"of {KILLS} kills under load after which the newest version served, whole",
            "target": KILLS,
            "holds": well == KILLS,
            "details": {},
        },
        {
            "name": "serving_damaged_versions",
            "value": len(wrong),
            "unit": f"failed requests or other scores while {len(damages())} damaged versions came",
            "target": 0,
            "holds": not wrong,
            "details": {"damages": list(damages())},
        },
    ]
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
