"""Requests of the right form with the wrong content: none is answered as a fault of the server."""

from __future__ import annotations

import base64
import http.client
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.model_server import ModelServer

NAMES = ["", "a", "\0", "\N{SNOWMAN}", "x" * 3000, "a/b:c", "%00"]
SIZES = [-(2**63), -1, 0, 1, 2, 3, 2**31, 2**63 - 1]
NUMBERS = [0, -1, 1.5, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e39, -1e308, float("nan"), True]
FIELDS = ["float_val", "double_val", "int_val", "int64_val", "bool_val", "half_val", "uint64_val"]
ACCUSED = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class Fuzzer:
    """Draws requests to a model from a seed."""

    def __init__(self, base: Path, signatures: dict[str, list[str]], seed: int):
        self.draw = random.Random(seed)
        self.base, self.signatures = base, signatures

    def spec(self, spec: Any) -> None:
        draw = self.draw
        spec.name = draw.choice(["toy"] * 12 + NAMES)
        spec.signature_name = draw.choice([*self.signatures, *self.signatures, "", *NAMES])
        if draw.random() < 0.2:
            spec.version.value = draw.choice([7, *SIZES])
        elif draw.random() < 0.1:
            spec.version_label = draw.choice(NAMES)

    def predict(self) -> PredictRequest:
        draw, request = self.draw, PredictRequest()
        self.spec(request.model_spec)
        names = self.signatures.get(request.model_spec.signature_name, ["examples"])
        for name in names if draw.random() < 0.9 else draw.choices(NAMES, k=2):
            self.tensor(request.inputs[name])
        request.output_filter.extend(draw.choices(["click", *NAMES], k=draw.choice([0, 0, 0, 1])))
        return request

    def tensor(self, tensor: Any) -> None:
        draw = self.draw
        tensor.dtype = draw.choice([1, 7, 9, draw.choice(DataType.values())])
        for _ in range(draw.choice([0, 1, 1, 2, 3, 33, 300])):
            tensor.tensor_shape.dim.add(size=draw.choice([1, 1, 1, 2, *SIZES]))
        tensor.tensor_shape.unknown_rank = draw.random() < 0.05
        if draw.random() < 0.3:
            tensor.tensor_content = draw.randbytes(draw.choice([0, 1, 4, 8, 16, 64]))
        if draw.random() < 0.4:
            tensor.string_val.extend(self.example().SerializeToString() for _ in range(2))
        if draw.random() < 0.4:
            values = [draw.randrange(2) for _ in range(draw.randrange(4))]
            getattr(tensor, draw.choice(FIELDS)).extend(values)

    def example(self) -> tf.train.Example:
        draw, example = self.draw, tf.train.Example()
        for name in draw.sample(["age", "tab", *NAMES], k=draw.randrange(4)):
            feature = example.features.feature[name]
            count = draw.choice([0, 1, 1, 2, 100])
            kind = draw.randrange(4)
            if kind == 0:
                feature.float_list.value.extend([draw.choice([1e38, float("nan")])] * count)
            elif kind == 1:
                feature.int64_list.value.extend([draw.choice([-(2**63), 2**63 - 1])] * count)
            elif kind == 2:
                feature.bytes_list.value.extend([draw.randbytes(5)] * count)
        return example

    def on_examples(self, request: Any) -> Any:
        self.spec(request.model_spec)
        self.input(request.input)
        return request

    def input(self, given: Any) -> None:
        draw = self.draw
        if draw.random() < 0.3:
            given.example_list_with_context.context.CopyFrom(self.example())
            given.example_list_with_context.examples.extend([self.example()] * draw.randrange(3))
        else:
            given.example_list.examples.extend(self.example() for _ in range(draw.randrange(4)))

    def multi_inference(self) -> MultiInferenceRequest:
        draw, request = self.draw, MultiInferenceRequest()
        for _ in range(draw.randrange(4)):
            task = request.tasks.add()
            self.spec(task.model_spec)
            kinds = ["classify", "regress", "predict"]
            task.method_name = draw.choice(["", f"tensorflow/serving/{draw.choice(kinds)}"])
        self.input(request.input)
        return request

    def metadata(self) -> GetModelMetadataRequest:
        fields = self.draw.choices(["signature_def", *NAMES], [10] + [1] * len(NAMES), k=1)
        request = GetModelMetadataRequest(metadata_field=fields)
        self.spec(request.model_spec)
        return request

    def status(self) -> GetModelStatusRequest:
        request = GetModelStatusRequest()
        self.spec(request.model_spec)
        return request

    def reload(self) -> ReloadConfigRequest:
        draw, request = self.draw, ReloadConfigRequest()
        models = request.config.model_config_list.config
        models.add(name="toy", base_path=str(self.base), model_platform="tensorflow")
        for _ in range(draw.choice([0, 1, 2])):
            paths = [str(self.base), "/" + "a" * 5000, "/a\0b", "/dev/null", "/proc/self/mem/a", ""]
            model = models.add(name=draw.choice(["new", *NAMES]), base_path=draw.choice(paths))
            model.model_platform = draw.choice(["tensorflow", "tensorflow", *NAMES])
            if draw.random() < 0.3:
                model.model_version_policy.specific.versions.extend([draw.choice(SIZES)])
            if draw.random() < 0.3:
                model.version_labels[draw.choice(NAMES)] = draw.choice(SIZES)
        return request

    def json(self, depth: int) -> Any:
        draw = self.draw
        kind = draw.randrange(6 if depth else 4)
        if kind == 0:
            return draw.choice(NUMBERS)
        if kind == 1:
            return draw.choice([None, "", "\ud800", *NAMES])
        if kind == 2:
            return {"b64": draw.choice(["", "YQ", "Y", "\N{SNOWMAN}", " ", 3])}
        if kind == 3:
            text = base64.b64encode(self.example().SerializeToString()).decode()
            return {"b64": text}
        if kind == 4:
            return [self.json(depth - 1)] * draw.randrange(4)
        names = ["age", "tab", "b64", *sum(self.signatures.values(), []), *NAMES]
        return {draw.choice(names): self.json(depth - 1) for _ in range(draw.randrange(3))}

    def rest(self) -> tuple[str, bytes]:
        draw = self.draw
        signature = draw.choice([*self.signatures, "", *NAMES, "\ud800", 7])
        body = {"signature_name": signature} if draw.random() < 0.8 else {}
        names = self.signatures.get(str(signature), ["examples"])
        row = {name: self.json(3) for name in names} if draw.random() < 0.7 else self.json(3)
        method = draw.choice(["predict", "predict", "classify", "regress"])
        if method != "predict":
            body["examples"] = draw.choice([[self.json(2)], [{"age": self.json(1)}], self.json(2)])
            if draw.random() < 0.3:
                body["context"] = self.json(2)
        elif draw.random() < 0.5:
            body["instances"] = [row] * draw.randrange(3)
        else:
            body["inputs"] = row
        if draw.random() < 0.1:
            body[draw.choice(["instances", "inputs", "examples", "signature_name"])] = "deep"
        version = draw.choice(["", "", "", "/versions/7", "/versions/" + "9" * 5000, "/labels/%ff"])
        levels = draw.choice([31, 32, 33, 40, 900, 990, 100_000])
        text = json.dumps(body).replace('"deep"', "[" * levels + "1" + "]" * levels)
        return f"/v1/models/toy{version}:{method}", text.encode()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_callers_do_wrong_is_told_as_theirs(
    toys: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    shutil.copytree(toys[0], tmp_path / "7")
    outcomes: Counter[str] = Counter()
    with ModelServer(tmp_path, "toy", rest_port=0) as server:
        assert server.rest_address is not None
        channel = grpc.insecure_channel(server.address)
        prediction, models = PredictionServiceStub(channel), ModelServiceStub(channel)
        rest = http.client.HTTPConnection(server.rest_address, timeout=30)
        with server._models.use(ModelSpec(name="toy")) as (_, servable):
            signatures = {n: list(s.inputs) for n, s in servable.signature_defs.items()}
        fuzz = Fuzzer(tmp_path, signatures, seed)

        calls: list[tuple[Any, Callable[[], Any]]] = [
            (prediction.Predict, fuzz.predict),
            (prediction.Predict, fuzz.predict),
            (prediction.Classify, lambda: fuzz.on_examples(ClassificationRequest())),
            (prediction.Regress, lambda: fuzz.on_examples(RegressionRequest())),
            (prediction.MultiInference, fuzz.multi_inference),
            (prediction.GetModelMetadata, fuzz.metadata),
            (models.GetModelStatus, fuzz.status),
            (models.HandleReloadConfigRequest, fuzz.reload),
        ]
        for number in range(200):
            call, make = calls[number % len(calls)]
            request = make()
            try:
                call(request, timeout=30)
                outcomes["OK"] += 1
            except grpc.RpcError as error:
                outcomes[error.code().name] += 1
                # TensorFlow Serving's own for a new model that does not load.
                own = "did not become available" in error.details()
                assert error.code() not in ACCUSED or own, (error.details(), request)
        for _ in range(200):
            path, body = fuzz.rest()
            rest.request("POST", path, body)
            response = rest.getresponse()
            text = response.read()
            outcomes[f"HTTP {response.status}"] += 1
            assert response.status != 500, (path, body, text)
        rest.close()
        channel.close()
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "HTTP 400", "HTTP 200"} <= set(outcomes)
    assert "A request failed" not in caplog.text
