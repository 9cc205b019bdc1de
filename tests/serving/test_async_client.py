from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.async_client import AsyncClient
from serving.client import PredictError
from serving.model_server import ModelServer


@pytest.fixture(scope="module")
def server(toys: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base = tmp_path_factory.mktemp("async")
    shutil.copytree(toys[1], base / "7")
    with ModelServer(base, "toy") as server:
        yield server


def test_tasks_share_a_client(server: ModelServer) -> None:
    ages = np.linspace(-3, 3, 40)

    async def ask() -> list[float]:
        async with AsyncClient(server.address) as client:
            found = await asyncio.gather(*(client.predict("toy", [{"age": age}]) for age in ages))
            return [float(scores["click"][0]) for scores in found]

    np.testing.assert_allclose(asyncio.run(ask()), 1 / (1 + np.exp(-ages - 1)), atol=1e-6)


def test_every_call(server: ModelServer) -> None:
    async def ask() -> None:
        async with AsyncClient(server.address) as client:
            assert (await client.columns("toy")).text == ("tab",)
            inputs = {"wide": np.float32([[1, 2]]), "scale": np.int64(3)}
            outputs = await client.call("toy", "scaled", inputs, outputs=["scaled"])
            assert outputs["scaled"].tolist() == [[3, 6]]
            assert (await client.status("toy"))[0][:2] == (7, "AVAILABLE")
            assert "scaled" in await client.signatures("toy", version=7)

    asyncio.run(ask())


def test_refusals_and_bad_rows(server: ModelServer) -> None:
    async def ask() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(PredictError, match=r"NOT_FOUND: .*Latest\(nobody\)"):
                await client.predict("nobody", [{}])
            with pytest.raises(ValueError, match="row 1, age: found 'x'"):
                await client.predict("toy", [{"age": "x"}])

    asyncio.run(ask())


def test_an_absent_server_is_asked_again_until_the_deadline() -> None:
    async def ask() -> None:
        async with AsyncClient("127.0.0.1:1", timeout=0.5, retries=1000) as client:
            with pytest.raises(PredictError) as caught:
                await client.predict("toy", [{}])
            assert caught.value.code in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )

    asyncio.run(ask())


def test_a_server_that_starts_later_is_found(toys: list[Path], tmp_path: Path) -> None:
    shutil.copytree(toys[0], tmp_path / "7")
    with ModelServer(tmp_path, "toy") as server:
        port = server.port

    async def ask() -> float:
        async with AsyncClient(f"127.0.0.1:{port}", timeout=30, retries=100) as client:
            asked = asyncio.create_task(client.predict("toy", [{"age": 0}]))
            await asyncio.sleep(0.3)
            assert not asked.done()
            with ModelServer(tmp_path, "toy", port=port):
                while not asked.done():
                    await asyncio.sleep(0.01)
            return float(asked.result()["click"][0])

    assert asyncio.run(ask()) == 0.5


def test_it_starts_without_tensorflow() -> None:
    script = "import serving.async_client, sys; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) & {"tensorflow", "tensorflow_serving", "tf_keras"} == set()
