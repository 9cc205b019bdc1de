"""A model of real logs behind `equipoise serve`, in a process of its own, and requests for it.

What asks it runs without TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from serving import versions
from serving.client import Client
from serving.client_examples import serialized_example

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data/kuairand_pure"
EQUIPOISE = Path(sys.executable).with_name("equipoise")
MODEL = "kuairand"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Args:
      process: Its process.
      address: gRPC, host:port.
      rest_address: REST, host:port.
    """

    process: subprocess.Popen[str]
    address: str
    rest_address: str

    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def kill(self) -> None:
        """Ends it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def arguments(description: str | None) -> argparse.Namespace:
    """What every script of the server takes: where versions lie, or where the logs do."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--data", default=str(DATA), help="folder of KuaiRand-Pure's files")
    parser.add_argument("--versions", type=Path, help="a folder of versions of it, instead")
    return parser.parse_args()


@contextlib.contextmanager
def pushed_model(given: argparse.Namespace) -> Iterator[Path]:
    """A folder with one version of a model of the logs; it may be written to."""
    with tempfile.TemporaryDirectory() as workdir:
        found = given.versions
        if found is None:
            settings = [f"data.path={given.data}", "training.epochs=1"]
            settings.append("data.train=2022-05-02..2022-05-03")
            sets = [part for setting in settings for part in ("--set", setting)]
            config = str(ROOT / "configs/kuairand.yaml")
            command = [str(EQUIPOISE), "run", config, "--workdir", workdir, *sets]
            done = subprocess.run(command, stdout=subprocess.DEVNULL)
            if done.returncode:
                raise SystemExit(f"equipoise run ended with status {done.returncode}")
            found = Path(workdir, "serving", MODEL)
        newest = versions.latest(found)
        assert newest is not None, f"{found}: no version"
        base = Path(workdir, "base")
        shutil.copytree(newest[1], base / str(newest[0]))
        yield base


def start(base: Path, *options: str) -> Server:
    """Starts a server of the folder's newest version, on free ports."""
    command = [EQUIPOISE, "serve", base, "--name", MODEL, "--port", "0", "--rest-api-port", "0"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*map(str, command), *options], stdout=subprocess.PIPE, stderr=said, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"answers on (\S+), for REST on (\S+): ", line)
        if found is None:
            said.seek(0)
            raise SystemExit(f"the server did not start: {line}{said.read()}")
    return Server(process, found[1], found[2])


@contextlib.contextmanager
def served(base: Path, *options: str) -> Iterator[Server]:
    """A server while the block runs."""
    server = start(base, *options)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def push_again(base: Path, number: int) -> int:
    """Pushes the newest version once more, with one more file, so that it counts as another."""
    newest = versions.latest(base)
    assert newest is not None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model")
        shutil.copytree(newest[1], copy)
        (copy / "number").write_text(str(number))
        return versions.push(copy, base, keep=2)


def examples(client: Client, data: str, count: int) -> np.ndarray:
    """Serialized tf.Examples of logged rows, as the client would send them, bytes [count]."""
    columns = client.columns(MODEL)
    rows = islice(_rows(Path(data)), count)
    known = [
        {k: v for k, v in row.items() if k in (*columns.text, *columns.numeric)} for row in rows
    ]
    for row in known:
        row.update({k: float(row[k]) for k in columns.numeric if row.get(k)})
    serialized = [
        serialized_example(f"row {i}", {k: v for k, v in row.items() if v != ""}, columns)
        for i, row in enumerate(known, 1)
    ]
    return np.array(serialized, object)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    users = {row["user_id"]: row for row in _read(folder, "user_features_pure.csv*")}
    videos = {row["video_id"]: row for row in _read(folder, "video_features_basic_pure.csv*")}
    for row in _read(folder, "log_standard_*.csv*"):
        yield {**users.get(row["user_id"], {}), **videos.get(row["video_id"], {}), **row}


def _read(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob(pattern))[-1:]:
        opened = gzip.open(file, "rt") if file.suffix == ".gz" else open(file)
        with opened as lines:
            yield from csv.DictReader(lines)


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return float(np.percentile(np.asarray(seconds), share)) * 1e3
