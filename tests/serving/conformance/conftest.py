"""The server that the suite asks: one that is pointed at, or else the stand-in."""

from __future__ import annotations

import contextlib
import http.client
import json
import runpy
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

FIXTURE = runpy.run_path(str(Path(__file__).with_name("fixture_model.py")))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "the model server that is asked")
    group.addoption("--address", help="gRPC, HOST:PORT; the stand-in is started by default")
    group.addoption("--rest-address", help="REST, HOST:PORT; without it these tests are skipped")
    group.addoption("--model", default=FIXTURE["MODEL"], help="name of the model")
    group.addoption(
        "--base-path",
        help="where the server sees the model's versions; without it what reloads is skipped",
    )


@dataclass
class Asked:
    """A server, and what it is to be asked for."""

    address: str
    rest_address: str | None
    model: str
    base_path: str | None

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.address)
        self.prediction = PredictionServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)

    def rest(self, path: str, body: Any = None) -> tuple[int, Any]:
        """A status and what the JSON of the answer says, or its text."""
        if self.rest_address is None:
            pytest.skip("no --rest-address")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.rest_address}{path}", data)
        # No proxy stands between us and a server of this host.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        with contextlib.suppress(json.JSONDecodeError):
            return status, json.loads(text)
        return status, text

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The same by any method; a body that is a list goes in chunks."""
        if self.rest_address is None:
            pytest.skip("no --rest-address")
        connection = http.client.HTTPConnection(self.rest_address, timeout=30)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            chunked = isinstance(body, list)
            if chunked:
                named["Transfer-Encoding"] = "chunked"
            connection.request(method, path, body, named, encode_chunked=chunked)
            response = connection.getresponse()
            text = response.read().decode()
        with contextlib.suppress(json.JSONDecodeError):
            return response.status, json.loads(text)
        return response.status, text

    def config(self) -> ModelServerConfig:
        """What it serves when a test begins."""
        if self.base_path is None:
            pytest.skip("no --base-path")
        text = FIXTURE["models_config"](self.base_path)
        config = text_format.Parse(text, ModelServerConfig())
        config.model_config_list.config[0].name = self.model
        return config


@pytest.fixture(scope="session")
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    option = request.config.getoption
    address = option("--address", None)
    if address is not None:
        yield Asked(address, option("--rest-address"), option("--model"), option("--base-path"))
        return

    from serving.model_server import ModelServer

    base = FIXTURE["write"](tmp_path_factory.mktemp("conformance"))
    config = text_format.Parse(FIXTURE["models_config"](str(base)), ModelServerConfig())
    with ModelServer(config, rest_port=0, poll_seconds=0.1, labels_of_unavailable=True) as server:
        yield Asked(server.address, server.rest_address, FIXTURE["MODEL"], str(base))
