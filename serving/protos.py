"""The few messages of TensorFlow and TensorFlow Serving that a client needs.

Importing `tensorflow_serving.apis` imports all of TensorFlow, which takes seconds. The
messages here are the same bytes on the wire: each field has the number and type that it
has there, and fields left out are skipped in reading.
"""

from __future__ import annotations

from serving.proto_messages import Fields, message_classes

FIELDS: dict[str, Fields] = {
    # tensorflow/core/example
    "BytesList": {"value": (1, "bytes*")},
    "FloatList": {"value": (1, "float*")},
    "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList")},
    "FeatureEntry": {"key": (1, "string"), "value": (2, "Feature")},
    "Features": {"feature": (1, "FeatureEntry*")},
    "Example": {"features": (1, "Features")},
    # tensorflow/core/framework
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "Dim*"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "double_val": (6, "double*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
        "int64_val": (10, "int64*"),
        "bool_val": (11, "bool*"),
    },
    # tensorflow/core/protobuf/meta_graph
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShapeProto"),
    },
    "TensorInfoEntry": {"key": (1, "string"), "value": (2, "TensorInfo")},
    "SignatureDef": {
        "inputs": (1, "TensorInfoEntry*"),
        "outputs": (2, "TensorInfoEntry*"),
        "method_name": (3, "string"),
    },
    # tensorflow_serving/apis
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "TensorEntry": {"key": (1, "string"), "value": (2, "TensorProto")},
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "TensorEntry*"),
        "output_filter": (3, "string*"),
    },
    "PredictResponse": {"outputs": (1, "TensorEntry*"), "model_spec": (2, "ModelSpec")},
    "SignatureDefEntry": {"key": (1, "string"), "value": (2, "SignatureDef")},
    "SignatureDefMap": {"signature_def": (1, "SignatureDefEntry*")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "AnyEntry": {"key": (1, "string"), "value": (2, "Any")},
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, "string*"),
    },
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "AnyEntry*")},
    "StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "StatusProto"),
    },
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "GetModelStatusResponse": {"model_version_status": (1, "ModelVersionStatus*")},
}

CLASSES = message_classes("equipoise.serving", FIELDS)
Example = CLASSES["Example"]
TensorProto = CLASSES["TensorProto"]
SignatureDefMap = CLASSES["SignatureDefMap"]
PredictRequest = CLASSES["PredictRequest"]
PredictResponse = CLASSES["PredictResponse"]
GetModelMetadataRequest = CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = CLASSES["GetModelMetadataResponse"]
GetModelStatusRequest = CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = CLASSES["GetModelStatusResponse"]
