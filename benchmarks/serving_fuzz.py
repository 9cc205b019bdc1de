"""10,000 requests that make no sense: each gets a status or an answer, and the server lives.

    python benchmarks/serving_fuzz.py [--versions DIR] [--seed N]

A model of KuaiRand-Pure (trained here, shortly, unless a folder of versions is given) behind the
local stand-in for TensorFlow Serving, in a process of its own. The requests are drawn from a seed:
random bytes for every call over gRPC; good requests with bytes changed; tensors whose shapes, types
and sizes are not what they hold; examples that are none, or hold no numbers; JSON of every kind,
bytes and broken HTTP over REST. None may hang, for 20 s, end the process or make
it say that it broke inside; afterwards a good request is answered as before.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from serving.protos import Example, PredictRequest

REQUESTS = 10_000
TIMEOUT = 20.0
METHODS = [
    *(
        f"/tensorflow.serving.PredictionService/{name}"
        for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
    ),
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/tensorflow.serving.SessionService/SessionRun",
]
# What a process that died, or one that hangs or breaks, leaves to be seen.
LOST = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
)
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf"), 3.4e38, -0.0, 1e-45]


class Fuzzer:
    """Draws requests and sends them.

    Args:
      address: gRPC, host:port.
      rest_address: REST, host:port.
      model: Name of the model.
      example: A serialized tf.Example that the model takes.
      seed: Of the draws.

    Attributes:
      outcomes: How many requests ended in which way.
      lost: Those that were not answered, or whose end the server takes for its own fault, and how.
    """

    def __init__(self, address: str, rest_address: str, model: str, example: bytes, seed: int):
        self.outcomes: Counter[str] = Counter()
        self.lost: list[str] = []
        self._channel = grpc.insecure_channel(
            address, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        )
        self._rest_address, self._model, self._example = rest_address, model, example
        self._random = random.Random(seed)
        self._kinds: list[Callable[[], None]] = [
            self._random_bytes,
            self._changed_request,
            self._odd_tensor,
            self._odd_example,
            self._odd_json,
            self._odd_http,
        ]

    def run(self, count: int) -> None:
        """Sends so many."""
        for number in range(count):
            self._kinds[number % len(self._kinds)]()
        self._channel.close()

    def _random_bytes(self) -> None:
        self._call(self._random.choice(METHODS), self._bytes(200))

    def _changed_request(self) -> None:
        content = bytearray(self._good().SerializeToString())
        for _ in range(self._random.randint(1, 8)):
            place = self._random.randrange(len(content))
            change = self._random.randrange(3)
            if change == 0:
                content[place] = self._random.randrange(256)
            elif change == 1:
                del content[place]
            else:
                content[place:place] = self._bytes(8)
            if not content:
                return
        self._call(METHODS[0], bytes(content))

    def _odd_tensor(self) -> None:
        request, draw = self._good(), self._random
        tensor = request.inputs[0].value
        kind = draw.randrange(6)
        if kind == 0:  # A claim of more than there is.
            for dim in tensor.tensor_shape.dim:
                dim.size = draw.choice([-1, 0, 2, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)])
        elif kind == 1:  # Too many dimensions.
            for _ in range(draw.randint(1, 300)):
                tensor.tensor_shape.dim.add(size=draw.choice([0, 1, 2, 1 << 20]))
        elif kind == 2:  # Another type.
            tensor.dtype = draw.choice([*range(30), 101, 107, -1, 1 << 30])
        elif kind == 3:  # Bytes of no tensor.
            tensor.dtype = draw.randrange(1, 25)
            tensor.tensor_content = self._bytes(64)
        elif kind == 4:  # Numbers instead of text.
            del tensor.string_val[:]
            tensor.dtype = 1
            tensor.float_val.extend(draw.choices(ODD_NUMBERS, k=draw.randint(0, 50)))
            tensor.tensor_shape.dim[0].size = draw.randint(0, 60)
        else:  # Other inputs and outputs.
            request.inputs[0].key = self._text()
            request.output_filter.extend(self._text() for _ in range(draw.randint(0, 3)))
            request.model_spec.signature_name = draw.choice(["", "request_columns", self._text()])
        self._call(METHODS[0], request.SerializeToString())

    def _odd_example(self) -> None:
        draw = self._random
        example = Example.FromString(self._example)
        for entry in example.features.feature:
            if draw.random() < 0.3:
                kind = draw.randrange(3)
                entry.value.Clear()
                if kind == 0:
                    values = draw.choices(ODD_NUMBERS, k=draw.choice([0, 1, 1, 2, 100]))
                    entry.value.float_list.value.extend(values)
                elif kind == 1:
                    texts = [self._bytes(30) for _ in range(draw.choice([0, 1, 1, 2, 100]))]
                    entry.value.bytes_list.value.extend(texts)
        content = example.SerializeToString()
        if draw.random() < 0.3:
            content = content[: draw.randrange(len(content))] + self._bytes(10)
        request = self._good()
        request.inputs[0].value.string_val[0] = content
        self._call(METHODS[0], request.SerializeToString())

    def _odd_json(self) -> None:
        draw = self._random
        body = draw.choice(
            [
                lambda: {draw.choice(["instances", "inputs"]): self._json(4)},
                lambda: {"examples": self._json(3), "context": self._json(2)},
                lambda: {"signature_name": self._json(1), "instances": self._json(3)},
                lambda: {"instances": [{"b64": base64.b64encode(self._bytes(90)).decode()}]},
                lambda: self._json(4),
            ]
        )()
        text = json.dumps(body)
        if draw.random() < 0.2:
            text = text[: draw.randrange(len(text) + 1)]
        method = draw.choice(["predict", "classify", "regress"])
        self._http(f"/v1/models/{self._model}:{method}", text.encode(errors="replace"))

    def _odd_http(self) -> None:
        if self._random.random() < 0.5:
            path = "".join(
                self._random.choices("/v1models%20:predict?&=labelsversions0123456789#", k=40)
            )
            self._http("/v1/models/" + path, self._bytes(100))
            return
        host, port = self._rest_address.split(":")
        head = self._random.choice(
            [
                b"",
                b"POST / HTTP/1.1\r\n",
                b"POST /v1/models/x:predict HTTP/1.1\r\nContent-Length: 9",
            ]
        )
        try:
            with socket.create_connection((host, int(port)), timeout=TIMEOUT) as plain:
                plain.sendall(head + self._bytes(200) + b"\r\n\r\n")
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(4096):
                    pass
            self.outcomes["bytes over HTTP"] += 1
        except ConnectionResetError:
            self.outcomes["bytes over HTTP"] += 1
        except OSError as error:
            self.lost.append(f"bytes over HTTP: {error!r}")

    def _call(self, method: str, content: bytes) -> None:
        try:
            self._channel.unary_unary(method)(content, timeout=TIMEOUT)
            outcome = "OK"
        except grpc.RpcError as error:
            outcome = error.code().name
            if error.code() in LOST:
                self.lost.append(f"{method}: {outcome}: {error.details()}: {content!r}")
        self.outcomes[outcome] += 1

    def _http(self, path: str, body: bytes) -> None:
        connection = http.client.HTTPConnection(self._rest_address, timeout=TIMEOUT)
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            response.read()
            self.outcomes[f"HTTP {response.status}"] += 1
            if response.status == 500:
                self.lost.append(f"POST {path}: 500: {body!r}")
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(f"POST {path}: {error!r}: {body!r}")
        finally:
            connection.close()

    def _good(self) -> Any:
        request = PredictRequest()
        request.model_spec.name = self._model
        tensor = request.inputs.add(key="examples").value
        tensor.dtype = 7
        tensor.tensor_shape.dim.add(size=2)
        tensor.string_val.extend([self._example] * 2)
        return request

    def _bytes(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randint(0, most))

    def _text(self) -> str:
        return "".join(chr(self._random.choice([97, 98, 0x20, 0, 0xFC, 0x1F600])) for _ in range(5))

    def _json(self, depth: int) -> Any:
        draw = self._random
        kind = draw.randrange(9 if depth else 7)
        if kind == 7:
            return [self._json(depth - 1) for _ in range(draw.randint(0, 4))]
        if kind == 8:
            keys = ["examples", "b64", "x", self._text()]
            return {draw.choice(keys): self._json(depth - 1) for _ in range(draw.randint(0, 3))}
        number = struct.unpack("<d", draw.randbytes(8))[0]
        odd = draw.choice([*ODD_NUMBERS, 10**400, -(2**63) - 1])
        return [None, True, draw.randint(-5, 5), number, odd, self._text(), "AAAA"][kind]


def main() -> None:
    """Prints the outcomes, then as JSON."""
    # Not where the tests import this file from.
    from support.model_server import MODEL, arguments, examples, pushed_model, served

    from serving.client import Client

    given = arguments(__doc__)
    if given.versions is None and not Path(given.data).is_dir():
        print(f"skipped: no folder {given.data}; give that of KuaiRand-Pure's files")
        return
    with pushed_model(given) as base, served(base) as server:
        with Client(server.address, timeout=30) as client:
            rows = examples(client, given.data, 10)
            before = client.call(MODEL, "serving_default", {"examples": rows})
            fuzzer = Fuzzer(server.address, server.rest_address, MODEL, rows[0], seed=1)
            fuzzer.run(REQUESTS)
            lives = server.process.poll() is None
            after = client.call(MODEL, "serving_default", {"examples": rows})
    same = all((after[name] == before[name]).all() for name in before)
    for outcome, count in fuzzer.outcomes.most_common():
        print(f"{count:6,} {outcome}")
    for lost in fuzzer.lost[:10]:
        print(f"not answered: {lost[:300]}")
    claim = {
        "name": "serving_fuzz",
        "value": len(fuzzer.lost),
        "unit": f"of {REQUESTS:,} senseless requests that hung, or broke something inside",
        "target": 0,
        "holds": not fuzzer.lost and lives and same,
        "details": {
            "outcomes": dict(fuzzer.outcomes),
            "process_lives": lives,
            "answers_as_before": same,
        },
    }
    print(json.dumps(claim))


if __name__ == "__main__":
    main()
