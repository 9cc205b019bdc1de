"""Resident memory over many swaps of a model that is asked all the while."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf

from serving import versions
from serving.client import Client

from .server_process import start_server

SWAPS = 200
MEBIBYTES = 30.0


def write_model(folder: Path) -> None:
    """A model of 2 MiB with a graph of some hundred nodes."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.Variable(tf.random.normal([1 << 19]))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            for row in range(60):
                length = tf.strings.length(tf.strings.as_string(x))
                x = tf.where(length > row, x * 0.5, x + tf.gather(self.table, row))
            return {"y": x}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})


def resident_mebibytes(process: subprocess.Popen[str]) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def is_swapped(client: Client, version: int) -> bool:
    """Whether a version answers, and the one before it is gone."""
    states = [(each.version, each.state) for each in client.status("toy")]
    return states[0] == (version, "AVAILABLE") and states[1][1] == "END"


@pytest.mark.slow
def test_memory_stays_flat_over_swaps(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    base = tmp_path / "base"
    versions.push(tmp_path / "model", base, keep=1)
    process, address = start_server(base)
    done, failed = threading.Event(), list[Exception]()

    def ask() -> None:
        try:
            with Client(address, timeout=120) as client:
                while not done.is_set():
                    client.call("toy", "serving_default", {"x": tf.zeros([50]).numpy()})
        except Exception as error:
            failed.append(error)

    try:
        askers = [threading.Thread(target=ask) for _ in range(8)]
        for asker in askers:
            asker.start()
        seen = []
        with Client(address, timeout=120) as client:
            for swap in range(SWAPS):
                (tmp_path / "model" / "swap").write_text(str(swap))
                pushed = versions.push(tmp_path / "model", base, keep=1)
                while not is_swapped(client, pushed):
                    time.sleep(0.02)
                seen.append(resident_mebibytes(process))
        done.set()
        for asker in askers:
            asker.join()
        assert not failed
    finally:
        done.set()
        process.terminate()
        process.wait(30)
    print([round(size) for size in seen[9::10]])
    # Threads and pools settle in the first swaps.
    assert max(seen[-50:]) < max(seen[10:50]) + MEBIBYTES
