"""The few messages of TensorFlow and TensorFlow Serving that a client needs.

Importing `tensorflow_serving.apis` imports all of TensorFlow, which takes seconds. The
messages here are the same bytes on the wire: each field has the number and type that it
has there (an enum is an int32; a map is a list of entries), and fields left out are
skipped in reading. They are built in a pool of their own, so that they do not meet the
official classes in a process that has both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_PACKAGE = "equipoise.serving"

# By message and field, its number and type; a `*` repeats it.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    # tensorflow/core/example
    "BytesList": {"value": (1, "bytes*")},
    "FloatList": {"value": (1, "float*")},
    "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList")},
    "FeatureEntry": {"key": (1, "string"), "value": (2, "Feature")},
    "Features": {"feature": (1, "FeatureEntry*")},
    "Example": {"features": (1, "Features")},
    # tensorflow/core/framework
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "Dim*")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "string_val": (8, "bytes*"),
    },
    # tensorflow_serving/apis
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
    },
    "TensorEntry": {"key": (1, "string"), "value": (2, "TensorProto")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "TensorEntry*")},
    "PredictResponse": {"outputs": (1, "TensorEntry*"), "model_spec": (2, "ModelSpec")},
}


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name=f"{__name__}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            described = message.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_REPEATED
                if repeated
                else FieldDescriptorProto.LABEL_OPTIONAL,
            )
            if kind in FIELDS:
                described.type = FieldDescriptorProto.TYPE_MESSAGE
                described.type_name = f".{_PACKAGE}.{kind}"
            else:
                described.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    messages = message_factory.GetMessages([file])
    return {name: messages[f"{_PACKAGE}.{name}"] for name in FIELDS}


CLASSES = _classes()
Example = CLASSES["Example"]
PredictRequest = CLASSES["PredictRequest"]
PredictResponse = CLASSES["PredictResponse"]
