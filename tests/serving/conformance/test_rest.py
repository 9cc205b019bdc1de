from __future__ import annotations

import base64
import gzip
import http.client
import math
import re
import socket
from typing import Any

import numpy as np
import pytest


def ask(asked: Any, body: Any, where: str = "", method: str = "predict") -> tuple[int, Any]:
    return asked.rest(f"/v1/models/{asked.model}{where}:{method}", body)


def b64(text: str) -> dict[str, str]:
    return {"b64": base64.b64encode(text.encode()).decode()}


MIXED_ROWS = [
    {"numbers": [1.0, 2.0], "ids": 10, "words": "a"},
    {"numbers": [3.0, 4.0], "ids": 20, "words": b64("ü")},
]
MIXED_COLUMNS = {
    "numbers": [[1.0, 2.0], [3.0, 4.0]],
    "ids": [10, 20],
    "words": ["a", b64("ü")],
}


def test_rows_of_a_single_input(asked: Any) -> None:
    assert ask(asked, {"instances": [1.0, 2, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert ask(asked, {"instances": [{"x": 1.0}]}) == (200, {"predictions": [2.5]})


def test_columns_of_a_single_input(asked: Any) -> None:
    assert ask(asked, {"inputs": [1.0, 2, 5.0]}) == (200, {"outputs": [2.5, 3.0, 4.5]})
    assert ask(asked, {"inputs": {"x": [1.0]}}) == (200, {"outputs": [2.5]})
    assert ask(asked, {"signature_name": "scalar", "inputs": 4}) == (200, {"outputs": 4.0})


def test_rows_of_several_inputs(asked: Any) -> None:
    status, answer = ask(asked, {"signature_name": "mixed", "instances": MIXED_ROWS})
    assert status == 200
    assert answer == {
        "predictions": [
            {"total": 13.0, "ids": 10, "loud": "A", "loud_bytes": b64("A")},
            {"total": 27.0, "ids": 20, "loud": "ü", "loud_bytes": b64("ü")},
        ]
    }


def test_columns_of_several_inputs(asked: Any) -> None:
    status, answer = ask(asked, {"signature_name": "mixed", "inputs": MIXED_COLUMNS})
    assert status == 200
    assert answer == {
        "outputs": {
            "total": [13.0, 27.0],
            "ids": [10, 20],
            "loud": ["A", "ü"],
            "loud_bytes": [b64("A"), b64("ü")],
        }
    }


@pytest.mark.parametrize(
    ("where", "version"),
    [("/versions/1", 1), ("/versions/2", 2), ("/labels/stable", 1), ("/labels/canary", 2)],
)
def test_a_version(asked: Any, where: str, version: int) -> None:
    assert ask(asked, {"instances": [1.0]}, where) == (200, {"predictions": [0.5 + version]})


def test_numbers_that_are_none(asked: Any) -> None:
    status, answer = ask(asked, b'{"instances": [NaN, Infinity, -Infinity, 1]}')
    assert status == 200
    found = answer["predictions"]
    assert math.isnan(found[0]) and found[1:] == [math.inf, -math.inf, 2.5]


# Comments name the file of TensorFlow Serving that says so, in its tensorflow_serving/.


def test_what_a_float_cannot_hold_exactly_is_taken(asked: Any) -> None:
    # g3doc/api_rest.md, "Floating Point Precision": 1435774380 becomes 1435774336.
    status, answer = ask(asked, {"instances": [1435774380, 16777217.0]})
    assert status == 200
    assert np.float32(answer["predictions"]).tolist() == [717887168.0, 8388610.0]


@pytest.mark.parametrize("padded", ["YQ==", "YQ", "YQ..", "Y Q=="])
def test_base64_with_or_without_padding(asked: Any, padded: str) -> None:
    # util/json_tensor.cc, JsonDecodeBase64Object: absl::Base64Unescape, of absl/strings/escaping.h.
    row = {"numbers": [1.0, 2.0], "ids": 1, "words": {"b64": padded}}
    status, answer = ask(asked, {"signature_name": "mixed", "instances": [row]})
    assert (status, answer["predictions"][0]["loud"]) == (200, "A")


@pytest.mark.parametrize("padded", ["Y", "YQ=", "YQ===", "Y!=="])
def test_what_is_no_base64(asked: Any, padded: str) -> None:
    row = {"numbers": [1.0, 2.0], "ids": 1, "words": {"b64": padded}}
    status, answer = ask(asked, {"signature_name": "mixed", "instances": [row]})
    assert status == 400 and "Unable to base64 decode" in answer["error"]


def test_a_body_in_chunks(asked: Any) -> None:
    # util/net_http/server/internal/evhttp_server.cc: libevent's http.h reads the body.
    chunks = [b'{"instances"', b": [1.0, 2]}"]
    path = f"/v1/models/{asked.model}:predict"
    assert asked.http("POST", path, chunks) == (200, {"predictions": [2.5, 3.0]})


def test_a_packed_body(asked: Any) -> None:
    # util/net_http/server/public/httpserver_interface.h: auto_uncompress_input, by default.
    packed = gzip.compress(b'{"instances": [1.0, 2]}')
    path = f"/v1/models/{asked.model}:predict"
    found = asked.http("POST", path, packed, Content_Encoding="gzip")
    assert found == (200, {"predictions": [2.5, 3.0]})


def test_a_body_that_waits_to_be_asked_for(asked: Any) -> None:
    # util/net_http/server/internal/evhttp_server.cc: libevent's http.c answers "100 Continue".
    if asked.rest_address is None:
        pytest.skip("no --rest-address")
    host, port = asked.rest_address.rsplit(":", 1)
    body = b'{"instances": [1.0]}'
    head = (
        f"POST /v1/models/{asked.model}:predict HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(head.encode())
        assert plain.recv(4096).startswith(b"HTTP/1.1 100 ")
        plain.sendall(body)
        assert plain.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_path_in_any_case(asked: Any) -> None:
    # model_servers/http_rest_api_util.cc: (?i) before the paths.
    body = b'{"instances": [1.0]}'
    path = f"/V1/Models/{asked.model}/VERSIONS/1:predict"
    assert asked.http("POST", path, body) == (200, {"predictions": [1.5]})
    status, answer = asked.http("GET", f"/v1/MODELS/{asked.model}/metadata")
    assert (status, answer["model_spec"]["name"]) == (200, asked.model)
    # model_servers/http_rest_api_handler.cc compares what follows the colon as it is.
    status, answer = asked.http("POST", f"/v1/models/{asked.model}:PREDICT", body)
    assert status == 400 and "Malformed request: POST /v1/models/" in answer["error"]


def test_classify(asked: Any) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 0.0}, {"x": 1.0}]}
    status, answer = ask(asked, body, method="classify")
    assert status == 200
    first, second = (dict(pairs) for pairs in answer["results"])
    assert first == {"no": 0.5, "yes": 0.5}
    assert second["yes"] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)


def test_regress(asked: Any) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 0.0}, {"x": [1.0]}, {}]}
    assert ask(asked, body, method="regress") == (200, {"results": [2.0, 2.5, 2.0]})


def test_the_context_is_part_of_each_example(asked: Any) -> None:
    body = {"signature_name": "regress", "context": {"more": 1.0}, "examples": [{"x": 1.0}, {}]}
    assert ask(asked, body, method="regress") == (200, {"results": [3.0, 2.5]})


def test_status(asked: Any) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    status, answer = asked.rest(f"/v1/models/{asked.model}")
    assert status == 200
    found = sorted(answer["model_version_status"], key=lambda entry: entry["version"])
    assert found == [
        {"version": version, "state": "AVAILABLE", "status": ok} for version in ("1", "2")
    ]
    status, answer = asked.rest(f"/v1/models/{asked.model}/versions/1")
    assert status == 200
    assert [entry["version"] for entry in answer["model_version_status"]] == ["1"]


def test_metadata(asked: Any) -> None:
    for where, version in (("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")):
        status, answer = asked.rest(f"/v1/models/{asked.model}{where}/metadata")
        assert status == 200
        assert answer["model_spec"]["name"] == asked.model
        assert answer["model_spec"]["version"] == version
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
        sizes = signatures["mixed"]["inputs"]["numbers"]["tensor_shape"]["dim"]
        assert [dim["size"] for dim in sizes] == ["-1", "2"]


def test_metrics(asked: Any) -> None:
    def page() -> str:
        status, text = asked.rest("/monitoring/prometheus/metrics")
        if status != 200:
            pytest.skip("the server shows no metrics")
        return str(text)

    def answered(text: str) -> float:
        pattern = (
            rf':tensorflow:serving:request_count{{model_name="{asked.model}",status="OK"}} (.*)'
        )
        found = re.search(pattern, text)
        return float(found[1]) if found else 0.0

    before = answered(page())
    assert ask(asked, {"instances": [1.0]})[0] == 200
    after = page()
    assert answered(after) == before + 1
    for name in ("request_latency", "runtime_latency"):
        assert f"# TYPE :tensorflow:serving:{name} histogram" in after
        assert re.search(rf":tensorflow:serving:{name}_count{{.*{asked.model}", after)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The document is empty"),
        (b"{", "JSON Parse error"),
        (b"[1]", "object"),
        (b"\xff\xfe", ""),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1.0], "inputs": [1.0]}, "only one of"),
        ({"instances": 1.0}, "'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": ["x"]}, "is not of expected type: float"),
        ({"instances": [None]}, "is not of expected type: float"),
        (b'{"instances": [1e400]}', "JSON Parse error"),
        (b'{"instances": [' + b"9" * 400 + b"]}", "JSON Parse error"),
        ({"instances": [1.0, [1.0]]}, "Expecting shape [] but got: [1]"),
        ({"instances": [{"z": 1.0}]}, "z"),
        ({"inputs": {"z": [1.0]}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": [[1.0], [1.0, 2.0]]}, "Encountered list at unexpected size: 2 at level: 1"),
        ({"signature_name": "mixed", "instances": [1.0]}, "instances is a plain list"),
        ({"signature_name": "mixed", "instances": MIXED_ROWS[:1] + [{}]}, "keys"),
        ({"signature_name": "mixed", "inputs": [1.0]}, "inputs is a plain value/list"),
        ({"signature_name": 7, "instances": [1.0]}, "must be a string value"),
        ({"signature_name": "rang", "instances": [1.0]}, "rang"),
        ({"signature_name": "positive", "instances": [-1.0]}, ""),
    ],
    ids=str,
)
def test_what_is_no_request(asked: Any, body: Any, text: str) -> None:
    status, answer = ask(asked, body)
    assert status == 400
    assert set(answer) == {"error"} and text in answer["error"]


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    "body",
    [{}, {"examples": {}}, {"examples": []}, {"examples": [1]}, {"examples": [{"x": None}]}],
    ids=str,
)
def test_what_are_no_examples(asked: Any, body: Any, method: str) -> None:
    status, answer = ask(asked, {"signature_name": method, **body}, method=method)
    assert status == 400 and set(answer) == {"error"}


def test_what_is_not_there(asked: Any) -> None:
    body = {"instances": [1.0]}
    status, answer = asked.rest("/v1/models/nobody:predict", body)
    assert status == 404 and "nobody" in answer["error"]
    assert ask(asked, body, "/versions/7")[0] == 404
    status, answer = ask(asked, body, "/labels/nightly")
    assert status == 400 and "Unrecognized servable version label: nightly" in answer["error"]
    status, answer = asked.rest("/v1/models/nobody")
    assert (status, answer) == (404, {"error": "Could not find any versions of model nobody"})
    status, answer = asked.rest(f"/v1/models/{asked.model}/versions/7")
    assert status == 404 and "Could not find version 7" in answer["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_methods_that_are_none(asked: Any, method: str) -> None:
    # util/net_http/server/internal/evhttp_server.cc lets them in, and
    # model_servers/http_rest_api_handler.cc, ProcessRequest, has nothing for them.
    path = f"/v1/models/{asked.model}:predict"
    body = b'{"instances": [1.0]}'
    assert asked.http(method, path, body) == (400, {"error": f"Malformed request: {method} {path}"})


def test_a_post_without_a_length(asked: Any) -> None:
    # libevent's http.c, evhttp_get_body: it has no body. util/json_tensor.cc, ParseJson.
    if asked.rest_address is None:
        pytest.skip("no --rest-address")
    host, port = asked.rest_address.rsplit(":", 1)
    head = f"POST /v1/models/{asked.model}:predict HTTP/1.1\r\nHost: {host}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(head.encode())
        response = http.client.HTTPResponse(plain)
        response.begin()
        assert response.status == 400
        assert b"JSON Parse error: The document is empty" in response.read()


def test_a_query_is_part_of_the_path(asked: Any) -> None:
    # util/net_http/server/internal/evhttp_request.cc, uri_path().
    status, answer = asked.http("POST", f"/v1/models/{asked.model}:predict?a=1", b"{}")
    assert status == 400 and "Malformed request: POST /v1/models/" in answer["error"]


def test_paths_that_are_none(asked: Any) -> None:
    assert ask(asked, {"instances": [1.0]}, method="rank")[0] == 400
    assert ask(asked, {"instances": [1.0]}, "/versions/99999999999999999999")[0] == 400
    assert asked.rest(f"/v1/models/{asked.model}", {"instances": [1.0]})[0] == 400
