from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def request(asked: Any, signature: str = "", **inputs: Any) -> PredictRequest:
    message = PredictRequest()
    message.model_spec.name = asked.model
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def ones(asked: Any) -> PredictRequest:
    return request(asked, x=np.float32([1, 2, 5]))


def ask(asked: Any, message: PredictRequest) -> PredictResponse:
    return asked.prediction.Predict(message, timeout=30)


def arrays(response: PredictResponse) -> dict[str, Any]:
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def refusal(asked: Any, message: PredictRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(asked, message)
    return caught.value.code(), caught.value.details()


def test_the_newest_version_answers(asked: Any) -> None:
    response = ask(asked, ones(asked))
    assert arrays(response)["y"].tolist() == [2.5, 3.0, 4.5]
    assert response.model_spec.name == asked.model
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_by_its_number(asked: Any, version: int) -> None:
    message = ones(asked)
    message.model_spec.version.value = version
    response = ask(asked, message)
    assert arrays(response)["y"].tolist() == [0.5 + version, 1.0 + version, 2.5 + version]
    assert response.model_spec.version.value == version


@pytest.mark.parametrize(("label", "version"), [("stable", 1), ("canary", 2)])
def test_a_version_by_its_label(asked: Any, label: str, version: int) -> None:
    message = ones(asked)
    message.model_spec.version_label = label
    assert ask(asked, message).model_spec.version.value == version


def test_several_inputs_and_outputs(asked: Any) -> None:
    message = request(
        asked,
        "mixed",
        numbers=np.float32([[1, 2], [3, 4]]),
        ids=np.int64([10, 20]),
        words=np.array(["a", "ü".encode()], object),
    )
    found = arrays(ask(asked, message))
    assert set(found) == {"total", "ids", "loud", "loud_bytes"}
    assert found["total"].tolist() == [13, 27]
    assert found["ids"].tolist() == [10, 20] and found["ids"].dtype == np.int64
    assert found["loud"].tolist() == [b"A", "ü".encode()]


def test_only_the_outputs_asked_for(asked: Any) -> None:
    message = request(asked, "types", x=np.float32([1, 0]))
    message.output_filter.extend(["int64", "bool"])
    found = arrays(ask(asked, message))
    assert {name: value.tolist() for name, value in found.items()} == {
        "int64": [1, 0],
        "bool": [True, False],
    }


def test_every_type_of_output(asked: Any) -> None:
    found = arrays(ask(asked, request(asked, "types", x=np.float32([3, 0]))))
    assert {name: (value.dtype.name, value.tolist()) for name, value in found.items()} == {
        "float64": ("float64", [3.0, 0.0]),
        "int8": ("int8", [3, 0]),
        "int32": ("int32", [3, 0]),
        "int64": ("int64", [3, 0]),
        "uint8": ("uint8", [3, 0]),
        "bool": ("bool", [True, False]),
        "float16": ("float16", [3.0, 0.0]),
    }


def test_outputs_lie_in_the_field_of_their_type(asked: Any) -> None:
    outputs = ask(asked, request(asked, "types", x=np.float32([3, 0]))).outputs
    assert list(outputs["float64"].double_val) == [3, 0]
    assert list(outputs["int64"].int64_val) == [3, 0]
    assert list(outputs["int8"].int_val) == [3, 0]
    assert list(outputs["bool"].bool_val) == [True, False]
    assert list(outputs["float16"].half_val) == [0x4200, 0]


@pytest.mark.parametrize(
    "tensor",
    [
        {"tensor_content": np.float32([1, 2, 5]).tobytes()},
        {"float_val": [1.0, 2.0, 5.0]},
    ],
    ids=["as content", "as field"],
)
def test_both_forms_of_a_tensor_are_read(asked: Any, tensor: Any) -> None:
    message = request(asked)
    shape = {"dim": [{"size": 3}]}
    message.inputs["x"].CopyFrom(TensorProto(dtype=1, tensor_shape=shape, **tensor))
    assert arrays(ask(asked, message))["y"].tolist() == [2.5, 3.0, 4.5]


def test_the_last_value_stands_for_those_left_out(asked: Any) -> None:
    message = request(asked)
    message.inputs["x"].CopyFrom(
        TensorProto(dtype=1, tensor_shape={"dim": [{"size": 3}]}, float_val=[1.0, 2.0])
    )
    assert arrays(ask(asked, message))["y"].tolist() == [2.5, 3.0, 3.0]


def test_a_scalar(asked: Any) -> None:
    found = arrays(ask(asked, request(asked, "scalar", x=np.float32(4))))
    assert found["y"].shape == () and found["y"] == 4.0


def test_no_rows(asked: Any) -> None:
    found = arrays(ask(asked, request(asked, x=np.zeros([0], np.float32))))
    assert found["y"].shape == (0,)


def test_values_that_are_no_number(asked: Any) -> None:
    values = np.float32([np.nan, np.inf, -np.inf])
    found = arrays(ask(asked, request(asked, x=values)))["y"]
    np.testing.assert_array_equal(found, values)


# --- refusals ---------------------------------------------------------------------------------


def test_no_model(asked: Any) -> None:
    assert refusal(asked, PredictRequest())[0] == INVALID
    message = ones(asked)
    message.model_spec.name = ""
    assert refusal(asked, message)[0] == INVALID


def test_an_unknown_model(asked: Any) -> None:
    message = ones(asked)
    message.model_spec.name = "nobody"
    code, text = refusal(asked, message)
    assert code == NOT_FOUND and "nobody" in text


def test_an_unknown_version(asked: Any) -> None:
    message = ones(asked)
    message.model_spec.version.value = 7
    code, text = refusal(asked, message)
    assert code == NOT_FOUND and asked.model in text and "7" in text


def test_an_unknown_label(asked: Any) -> None:
    message = ones(asked)
    message.model_spec.version_label = "nightly"
    assert refusal(asked, message) == (INVALID, "Unrecognized servable version label: nightly")


def test_an_unknown_signature(asked: Any) -> None:
    code, text = refusal(asked, request(asked, "rang", x=np.float32([1])))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert text == 'Serving signature key "rang" not found.'


def test_extra_and_missing_inputs(asked: Any) -> None:
    code, text = refusal(asked, request(asked, x=np.float32([1]), more=np.float32([1])))
    assert code == INVALID
    assert "Sent extra: {more}. Missing but required: {}." in text
    code, text = refusal(asked, request(asked, "mixed", ids=np.int64([1])))
    assert code == INVALID
    assert "Sent extra: {}. Missing but required: {numbers,words}." in text


def test_a_misnamed_input(asked: Any) -> None:
    code, text = refusal(asked, request(asked, z=np.float32([1])))
    assert code == INVALID and "z" in text


def test_a_wrong_type(asked: Any) -> None:
    assert refusal(asked, request(asked, x=np.int64([1]))) == (
        INVALID,
        "Expects arg[0] to be float but int64 is provided",
    )


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}, "tensor_content": b"123"},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": -1}]}, "float_val": [1.0]},
        {"dtype": 0},
    ],
    ids=["cut short", "a negative size", "no type"],
)
def test_a_tensor_that_is_none(asked: Any, tensor: Any) -> None:
    message = request(asked)
    message.inputs["x"].CopyFrom(TensorProto(**tensor))
    assert refusal(asked, message) == (INVALID, "tensor parsing error: x")


def test_an_unknown_output(asked: Any) -> None:
    message = ones(asked)
    message.output_filter.append("z")
    code, text = refusal(asked, message)
    assert code == INVALID and "output tensor alias not found in signature: z" in text


def test_an_output_twice(asked: Any) -> None:
    message = ones(asked)
    message.output_filter.extend(["y", "y"])
    assert refusal(asked, message) == (INVALID, "duplicate output tensor alias: y")


def test_what_the_model_refuses(asked: Any) -> None:
    assert refusal(asked, request(asked, "positive", x=np.float32([1, -1])))[0] == INVALID
    assert arrays(ask(asked, request(asked, "positive", x=np.float32([1]))))["y"].tolist() == [1]


@pytest.mark.parametrize("text", [b"no example", b"\xff\x80"], ids=["text", "bytes"])
def test_an_example_that_is_none(asked: Any, text: bytes) -> None:
    assert refusal(asked, request(asked, "regress", inputs=[text]))[0] == INVALID


def test_a_long_text_is_cut(asked: Any) -> None:
    message = ones(asked)
    message.model_spec.name = "m" * 5000
    _, text = refusal(asked, message)
    assert len(text) < 2000 and text.endswith("...TRUNCATED")


def test_bytes_that_are_no_request(asked: Any) -> None:
    call = asked.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError):
        call(b"\xff\xff\xff", timeout=30)
    assert arrays(ask(asked, ones(asked)))["y"].tolist() == [2.5, 3.0, 4.5]


@pytest.mark.parametrize(
    "method",
    ["/tensorflow.serving.SessionService/SessionRun", "/tensorflow.serving.PredictionService/Rank"],
)
def test_a_call_that_is_not_there(asked: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked.channel.unary_unary(method)(b"", timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_that_has_passed(asked: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked.prediction.Predict(ones(asked), timeout=-1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
