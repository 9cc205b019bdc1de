from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    status_pb2,
)

from serving import protos

OFFICIAL: dict[str, Any] = {
    "BytesList": feature_pb2.BytesList,
    "FloatList": feature_pb2.FloatList,
    "Feature": feature_pb2.Feature,
    "FeatureEntry": feature_pb2.Features.FeatureEntry,
    "Features": feature_pb2.Features,
    "Example": example_pb2.Example,
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "TensorInfo": meta_graph_pb2.TensorInfo,
    "TensorInfoEntry": meta_graph_pb2.SignatureDef.InputsEntry,
    "SignatureDef": meta_graph_pb2.SignatureDef,
    "Int64Value": Int64Value,
    "ModelSpec": model_pb2.ModelSpec,
    "TensorEntry": predict_pb2.PredictRequest.InputsEntry,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "SignatureDefEntry": get_model_metadata_pb2.SignatureDefMap.SignatureDefEntry,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "Any": AnyMessage,
    "AnyEntry": get_model_metadata_pb2.GetModelMetadataResponse.MetadataEntry,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "StatusProto": status_pb2.StatusProto,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
}

# Entries of maps whose messages have names of their own here.
ENTRIES = {"TensorEntry", "TensorInfoEntry", "AnyEntry"}


def wire_type(field: Any) -> tuple[int, int, bool, str | None]:
    """What decides a field's bytes; an enum is written as an int32."""
    kind = field.TYPE_INT32 if field.type == field.TYPE_ENUM else field.type
    inner = field.message_type.name if field.message_type else None
    return field.number, kind, field.label == field.LABEL_REPEATED, inner


@pytest.mark.parametrize("name", OFFICIAL)
def test_fields_are_the_official_ones(name: str) -> None:
    official = OFFICIAL[name].DESCRIPTOR.fields_by_name
    ours = protos.CLASSES[name].DESCRIPTOR.fields_by_name
    assert set(ours) == set(protos.FIELDS[name])
    for field in ours:
        expected, found = wire_type(official[field]), wire_type(ours[field])
        if found[3] in ENTRIES:
            assert expected[3] in ("InputsEntry", "OutputsEntry", "MetadataEntry")
            expected = (*expected[:3], found[3])
        assert found == expected


def test_every_message_is_compared() -> None:
    assert set(OFFICIAL) == set(protos.FIELDS) == set(protos.CLASSES)


def test_a_request_is_read_by_the_official_class() -> None:
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version.value = 7
    entry = request.inputs.add(key="examples")
    entry.value.dtype = 7
    entry.value.tensor_shape.dim.add(size=2)
    entry.value.string_val.extend([b"a", b""])
    official = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert official.model_spec.name == "m"
    assert official.model_spec.version.value == 7
    tensor = official.inputs["examples"]
    assert (tensor.dtype, tensor.tensor_shape.dim[0].size) == (7, 2)
    assert list(tensor.string_val) == [b"a", b""]
