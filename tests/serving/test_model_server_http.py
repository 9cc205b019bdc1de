"""HTTP under REST: where a request ends, and how its body comes."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.model_server import ModelServer

BODY = b'{"signature_name": "scaled", "inputs": {"wide": [[1, 2]], "scale": 3}}'
PREDICT = b"POST /v1/models/toy:predict HTTP/1.1\r\n"
HOST = b"Host: here\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
NEXT = b"GET /v1/models/toy HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(scope="module")
def server(toys: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base = tmp_path_factory.mktemp("http")
    shutil.copytree(toys[0], base / "7")
    with ModelServer(base, "toy", rest_port=0) as server:
        yield server


@pytest.fixture
def plain(server: ModelServer) -> Iterator[socket.socket]:
    assert server.rest_address is not None
    host, port = server.rest_address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        yield plain


def until_closed(plain: socket.socket) -> bytes:
    received = b""
    while piece := plain.recv(4096):
        received += piece
    return received


def reply(plain: socket.socket) -> tuple[int, Any]:
    response = http.client.HTTPResponse(plain)
    response.begin()
    return response.status, json.loads(response.read())


# RFC 9112: 3.2 (Host), 5.1 (no space before the colon), 6.1 and 6.3 (lengths).
# RFC 9110: 9.3.1 (a body of GET).
@pytest.mark.parametrize(
    "request_",
    [
        PREDICT + HOST + LENGTH + CHUNKED + b"\r\n" + BODY,
        PREDICT + HOST + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
        PREDICT + HOST + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
        PREDICT + HOST + b"Content-Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
        PREDICT + HOST + LENGTH + LENGTH + b"\r\n" + BODY,
        PREDICT + HOST + b"Content-Length: 70, 70\r\n\r\n" + BODY,
        PREDICT + HOST + b"Content-Length: +70\r\n\r\n" + BODY,
        PREDICT + HOST + b"Content-Length : 70\r\n\r\n" + BODY,
        PREDICT + b"Host : here\r\n" + LENGTH + b"\r\n" + BODY,
        PREDICT + LENGTH + b"\r\n" + BODY,
        PREDICT + HOST + HOST + LENGTH + b"\r\n" + BODY,
        PREDICT + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
        PREDICT + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
        PREDICT + HOST + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
        PREDICT + HOST + CHUNKED + b"\r\n" + b"0x46\r\n" + BODY + b"\r\n0\r\n\r\n",
        PREDICT.replace(b"1.1", b"1.0") + CHUNKED + b"Connection: keep-alive\r\n\r\n" + CHUNKS,
        b"GET /v1/models/toy HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nGET /",
        b"GET /v1/models/toy HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n5\r\nGET /\r\n0\r\n\r\n",
    ],
    ids=lambda request: request.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2].decode(),
)
def test_what_could_be_read_in_two_ways_is_refused_and_closed(
    plain: socket.socket, request_: bytes
) -> None:
    plain.sendall(request_ + NEXT)
    received = until_closed(plain)
    assert received.split(b" ")[1] in (b"400", b"501")
    # Nothing behind it is answered, be it a request or not.
    assert received.count(b"HTTP/1.1 ") == 1 and b"AVAILABLE" not in received


def test_a_refusal_says_why(plain: socket.socket) -> None:
    plain.sendall(PREDICT + HOST + LENGTH + CHUNKED + b"\r\n")
    error = "Content-Length: found Transfer-Encoding beside it; expected one of them"
    assert reply(plain) == (400, {"error": error})


@pytest.mark.parametrize(
    "request_",
    [
        PREDICT + HOST + LENGTH + b"\r\n" + BODY,
        PREDICT + HOST + CHUNKED + b"\r\n" + CHUNKS,
        PREDICT + HOST + b"Transfer-Encoding: Chunked\r\n\r\n" + CHUNKS,
        PREDICT.replace(b"1.1", b"1.0") + LENGTH + b"Connection: keep-alive\r\n\r\n" + BODY,
    ],
    ids=["length", "chunked", "Chunked", "HTTP/1.0"],
)
def test_requests_one_behind_the_other(plain: socket.socket, request_: bytes) -> None:
    plain.sendall(request_ + request_ + NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    received = until_closed(plain)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"scaled": [') == 2 and received.count(b"AVAILABLE") == 1


def test_a_large_body_that_waits_to_be_asked_for(plain: socket.socket) -> None:
    row = b"[1, 2], "
    body = BODY.replace(b"[[", b"[" + row * 20_000 + b"[")
    head = PREDICT + HOST + f"Content-Length: {len(body)}\r\n".encode()
    plain.sendall(head + b"Expect: 100-continue\r\n\r\n")
    start = time.monotonic()
    assert plain.recv(4096).startswith(b"HTTP/1.1 100 ")
    assert time.monotonic() - start < 0.9  # As curl waits for it, before it sends anyway.
    plain.sendall(body)
    status, answer = reply(plain)
    assert status == 200 and len(answer["outputs"]["scaled"]) == 20_001


def test_a_body_that_would_be_too_large_is_not_asked_for(plain: socket.socket) -> None:
    plain.sendall(PREDICT + HOST + b"Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n")
    received = until_closed(plain)
    assert received.startswith(b"HTTP/1.1 413 ") and b"expected at most 1073741824" in received


PACKED = gzip.compress(BODY)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (PACKED, 200, "scaled"),
        (BODY, 400, "Content-Encoding: found no gzip"),
        (PACKED[:-1], 400, "Content-Encoding: found gzip that is cut off, or more behind it"),
        (PACKED + b"x", 400, "Content-Encoding: found gzip that is cut off, or more behind it"),
        (b"", 400, "Content-Encoding: found gzip that is cut off, or more behind it"),
        (gzip.compress(b" " * (101 << 20), 1), 400, "found more than 104857600 bytes when unpa"),
    ],
    ids=["packed", "plain", "cut off", "more behind", "none", "much when unpacked"],
)
def test_packed_bodies(plain: socket.socket, body: bytes, status: int, text: str) -> None:
    head = (
        PREDICT + HOST + f"Content-Length: {len(body)}\r\nContent-Encoding: gzip\r\n\r\n".encode()
    )
    plain.sendall(head + body)
    found, answer = reply(plain)
    assert found == status and text in json.dumps(answer)


def test_the_head_of_an_answer_is_without_body(plain: socket.socket) -> None:
    plain.sendall(b"HEAD /v1/models/toy HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    head, _, body = until_closed(plain).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and body == b""


def test_a_connection_that_was_refused_leaves_the_others(server: ModelServer) -> None:
    assert server.rest_address is not None
    kept = http.client.HTTPConnection(server.rest_address, timeout=10)
    host, port = server.rest_address.split(":")
    for noise in (PREDICT + HOST + LENGTH + CHUNKED + b"\r\n", b"\xff\r\n\r\n"):
        kept.request("POST", "/v1/models/toy:predict", BODY)
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall(noise)
            assert b"400" in until_closed(plain)
        response = kept.getresponse()
        assert response.status == 200 and response.read()
    kept.close()
