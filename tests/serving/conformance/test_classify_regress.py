from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(**values: float) -> tf.train.Example:
    feature = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


def examples(*values: float) -> Input:
    given = Input()
    given.example_list.examples.extend(example(x=value) for value in values)
    return given


def classification(asked: Any, given: Input, signature: str = "classify") -> ClassificationRequest:
    request = ClassificationRequest(input=given)
    request.model_spec.name = asked.model
    request.model_spec.signature_name = signature
    return request


def regression(asked: Any, given: Input, signature: str = "regress") -> RegressionRequest:
    request = RegressionRequest(input=given)
    request.model_spec.name = asked.model
    request.model_spec.signature_name = signature
    return request


def both(asked: Any, given: Input) -> MultiInferenceRequest:
    request = MultiInferenceRequest(input=given)
    for signature, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = asked.model
        task.model_spec.signature_name = signature
    return request


def yes(result: Any) -> list[float]:
    return [
        dict((entry.label, entry.score) for entry in found.classes)["yes"]
        for found in result.classifications
    ]


def numbers(result: Any) -> list[float]:
    return [found.value for found in result.regressions]


def sigmoids(*values: float) -> Any:
    return pytest.approx([1 / (1 + math.exp(-value)) for value in values], abs=1e-6)


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code(), caught.value.details()


def test_classify(asked: Any) -> None:
    request = classification(asked, examples(0, 1, -2))
    response = asked.prediction.Classify(request, timeout=30)
    assert yes(response.result) == sigmoids(0, 1, -2)
    first = response.result.classifications[0].classes
    assert [entry.label for entry in first] == ["no", "yes"]
    assert sum(entry.score for entry in first) == pytest.approx(1, abs=1e-6)
    assert (response.model_spec.name, response.model_spec.version.value) == (asked.model, 2)


def test_regress(asked: Any) -> None:
    response = asked.prediction.Regress(regression(asked, examples(0, 1, -2)), timeout=30)
    assert numbers(response.result) == [2.0, 2.5, 1.0]
    assert (response.model_spec.name, response.model_spec.version.value) == (asked.model, 2)


def test_a_version_by_its_label(asked: Any) -> None:
    request = regression(asked, examples(0))
    request.model_spec.version_label = "stable"
    assert numbers(asked.prediction.Regress(request, timeout=30).result) == [1.0]


def test_the_context_is_part_of_each_example(asked: Any) -> None:
    given = Input()
    given.example_list_with_context.context.CopyFrom(example(more=1))
    given.example_list_with_context.examples.extend([example(x=1), example(x=2)])
    response = asked.prediction.Regress(regression(asked, given), timeout=30)
    assert numbers(response.result) == [3.0, 3.5]
    response = asked.prediction.Classify(classification(asked, given), timeout=30)
    assert yes(response.result) == sigmoids(2, 3)


def test_several_at_once(asked: Any) -> None:
    response = asked.prediction.MultiInference(both(asked, examples(0, 1)), timeout=30)
    first, second = response.results
    assert yes(first.classification_result) == sigmoids(0, 1)
    assert numbers(second.regression_result) == [2.0, 2.5]
    assert [found.model_spec.version.value for found in response.results] == [2, 2]


def test_no_examples(asked: Any) -> None:
    empty = Input()
    assert refusal(asked.prediction.Classify, classification(asked, empty))[0] == INVALID
    assert refusal(asked.prediction.Regress, regression(asked, empty))[0] == INVALID
    assert refusal(asked.prediction.MultiInference, both(asked, empty))[0] == INVALID


def test_signatures_of_another_kind(asked: Any) -> None:
    given = examples(1)
    for signature in ("mixed", "serving_default", "rang"):
        request = classification(asked, given, signature)
        assert refusal(asked.prediction.Classify, request)[0] == INVALID
        request = regression(asked, given, signature)
        assert refusal(asked.prediction.Regress, request)[0] == INVALID


def test_an_unknown_signature(asked: Any) -> None:
    for call, make in (
        (asked.prediction.Classify, classification),
        (asked.prediction.Regress, regression),
    ):
        code, text = refusal(call, make(asked, examples(1), "rang"))
        assert code == INVALID and "rang" in text


def test_an_unknown_model(asked: Any) -> None:
    for call, make in (
        (asked.prediction.Classify, classification),
        (asked.prediction.Regress, regression),
    ):
        request = make(asked, examples(1))
        request.model_spec.name = "nobody"
        code, text = refusal(call, request)
        assert code == grpc.StatusCode.NOT_FOUND and "nobody" in text


def test_several_of_different_models(asked: Any) -> None:
    request = both(asked, examples(1))
    request.tasks[1].model_spec.name = "nobody"
    code, text = refusal(asked.prediction.MultiInference, request)
    assert code == INVALID and "same model name" in text


def test_a_signature_twice(asked: Any) -> None:
    request = both(asked, examples(1))
    request.tasks[1].CopyFrom(request.tasks[0])
    code, text = refusal(asked.prediction.MultiInference, request)
    assert code == INVALID and "Duplicate evaluation of signature: classify" in text


def test_an_unknown_method(asked: Any) -> None:
    request = both(asked, examples(1))
    request.tasks[1].method_name = "tensorflow/serving/rank"
    code, _ = refusal(asked.prediction.MultiInference, request)
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_a_feature_of_the_wrong_type(asked: Any) -> None:
    given = Input()
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    given.example_list.examples.add().features.feature["x"].CopyFrom(feature)
    code, text = refusal(asked.prediction.Regress, regression(asked, given))
    assert code == INVALID and "x" in text
