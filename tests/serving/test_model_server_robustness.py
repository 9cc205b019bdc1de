"""Requests that make no sense, and the end of the process at any moment; a few of each.

`benchmarks/serving_fuzz.py` and `benchmarks/serving_kill.py` do the same thousands of times.
"""

from __future__ import annotations

import runpy
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from serving import versions
from serving.client import Client, PredictError
from serving.model_server import ModelServer

from .server_process import start_server

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROW = {"age": 1.5, "tab": "feed"}


@pytest.mark.parametrize("seed", [1, 2])
def test_requests_that_make_no_sense(
    toys: list[Path], tmp_path: Path, as_examples: Any, seed: int
) -> None:
    shutil.copytree(toys[0], tmp_path / "7")
    fuzzer = runpy.run_path(str(BENCHMARKS / "serving_fuzz.py"))["Fuzzer"]
    with (
        ModelServer(tmp_path, "toy", rest_port=0) as server,
        Client(server.address, timeout=30) as client,
    ):
        expected = client.predict("toy", [ROW])["click"]
        fuzz = fuzzer(server.address, server.rest_address, "toy", as_examples([ROW])[0], seed)
        fuzz.run(300)
        assert fuzz.lost == []
        assert client.predict("toy", [ROW])["click"] == expected
    # It was asked of every kind, and some made sense after all.
    assert {"OK", "INVALID_ARGUMENT", "HTTP 400", "bytes over HTTP"} <= set(fuzz.outcomes)
    assert sum(fuzz.outcomes.values()) > 290


def test_killed_under_load_it_comes_back_with_whole_versions(
    toys: list[Path], tmp_path: Path
) -> None:
    versions.push(toys[0], tmp_path, keep=2)
    process, address = start_server(tmp_path)
    done, codes = threading.Event(), set()

    def ask() -> None:
        with Client(address, timeout=10, retries=0) as client:
            while not done.is_set():
                try:
                    client.predict("toy", [ROW])
                except PredictError as error:
                    codes.add(error.code.name)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    newest = versions.push(toys[1], tmp_path, keep=2)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    done.set()
    for asker in askers:
        asker.join()
    assert codes <= {"UNAVAILABLE"}

    assert {path.name for path in tmp_path.iterdir()} == {
        ".push.lock",
        *map(str, versions.numbers(tmp_path)),
    }
    with ModelServer(tmp_path, "toy") as server, Client(server.address) as client:
        assert server.version == newest
        assert client.predict("toy", [{"age": 0}])["click"].tolist() == pytest.approx([0.7310586])
