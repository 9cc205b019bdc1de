from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
AVAILABLE = ModelVersionStatus.AVAILABLE


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    return caught.value.code(), caught.value.details()


def status_request(model: str, version: int | None = None) -> GetModelStatusRequest:
    request = GetModelStatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


def states(asked: Any) -> dict[int, int]:
    response = asked.models.GetModelStatus(status_request(asked.model), timeout=30)
    return {entry.version: entry.state for entry in response.model_version_status}


def wait_for(asked: Any, *available: int) -> None:
    """Until these versions answer, and no other is still being unloaded."""

    def settled(found: dict[int, int]) -> bool:
        answering = {version for version, state in found.items() if state == AVAILABLE}
        return answering == set(available) and ModelVersionStatus.UNLOADING not in found.values()

    end = time.monotonic() + 60
    while not settled(found := states(asked)):
        assert time.monotonic() < end, f"waited for {available}, found {found}"
        time.sleep(0.05)


def test_metadata(asked: Any) -> None:
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = asked.model
    response = asked.prediction.GetModelMetadata(request, timeout=30)
    assert (response.model_spec.name, response.model_spec.version.value) == (asked.model, 2)
    found = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    signature = found.signature_def["mixed"]
    assert {name: info.dtype for name, info in signature.inputs.items()} == {
        "numbers": 1,
        "ids": 9,
        "words": 7,
    }
    assert [dim.size for dim in signature.inputs["numbers"].tensor_shape.dim] == [-1, 2]
    assert set(signature.outputs) == {"total", "ids", "loud", "loud_bytes"}


def test_metadata_refused(asked: Any) -> None:
    call = asked.prediction.GetModelMetadata
    request = GetModelMetadataRequest()
    assert refusal(call, request) == (INVALID, "Missing ModelSpec")
    request.model_spec.name = asked.model
    assert refusal(call, request)[0] == INVALID
    request.metadata_field.append("weights")
    assert refusal(call, request)[0] == INVALID
    request.metadata_field[:] = ["signature_def"]
    request.model_spec.name = "nobody"
    assert refusal(call, request)[0] == NOT_FOUND


def test_status(asked: Any) -> None:
    assert states(asked) == {1: AVAILABLE, 2: AVAILABLE}
    response = asked.models.GetModelStatus(status_request(asked.model, 1), timeout=30)
    (entry,) = response.model_version_status
    assert (entry.version, entry.state, entry.status.error_code) == (1, AVAILABLE, 0)


def test_status_refused(asked: Any) -> None:
    call = asked.models.GetModelStatus
    assert refusal(call, GetModelStatusRequest()) == (INVALID, "Missing ModelSpec")
    assert refusal(call, status_request("nobody")) == (
        NOT_FOUND,
        "Could not find any versions of model nobody",
    )
    assert refusal(call, status_request(asked.model, 7)) == (
        NOT_FOUND,
        f"Could not find version 7 of model {asked.model}",
    )


# --- other lists of models --------------------------------------------------------------------


def reload(asked: Any, config: ModelServerConfig) -> None:
    response = asked.models.HandleReloadConfigRequest(
        ReloadConfigRequest(config=config), timeout=60
    )
    assert response.status.error_code == 0


@pytest.fixture
def config(asked: Any) -> Iterator[ModelServerConfig]:
    """What is served; it is again when the test ends."""
    yield asked.config()
    # A label goes only to a version that is there.
    without_labels = asked.config()
    without_labels.model_config_list.config[0].version_labels.clear()
    reload(asked, without_labels)
    wait_for(asked, 1, 2)
    reload(asked, asked.config())


def test_policies(asked: Any, config: ModelServerConfig) -> None:
    (entry,) = config.model_config_list.config
    entry.version_labels.clear()
    entry.model_version_policy.latest.num_versions = 1
    reload(asked, config)
    wait_for(asked, 2)
    entry.model_version_policy.all.SetInParent()
    reload(asked, config)
    wait_for(asked, 1, 2)
    entry.model_version_policy.specific.versions[:] = [1]
    reload(asked, config)
    wait_for(asked, 1)
    assert states(asked) == {1: AVAILABLE, 2: ModelVersionStatus.END}


def test_labels_move_between_versions_that_are_there(asked: Any, config: ModelServerConfig) -> None:
    (entry,) = config.model_config_list.config
    request = PredictRequest()
    request.model_spec.name = asked.model
    request.model_spec.version_label = "stable"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(0)
    assert asked.prediction.Predict(request, timeout=30).model_spec.version.value == 1
    entry.version_labels["stable"] = 2
    reload(asked, config)
    assert asked.prediction.Predict(request, timeout=30).model_spec.version.value == 2

    entry.version_labels["stable"] = 7
    call = asked.models.HandleReloadConfigRequest
    assert refusal(call, ReloadConfigRequest(config=config)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Request to assign label to version 7 of model {asked.model}, which is not currently "
        "available for inference",
    )
    assert asked.prediction.Predict(request, timeout=30).model_spec.version.value == 2


def test_another_model_comes_and_goes(asked: Any, config: ModelServerConfig) -> None:
    added = ModelServerConfig()
    added.CopyFrom(config)
    added.model_config_list.config.add(
        name="another",
        base_path=config.model_config_list.config[0].base_path,
        model_platform="tensorflow",
    )
    reload(asked, added)
    response = asked.models.GetModelStatus(status_request("another"), timeout=30)
    (entry,) = response.model_version_status
    assert (entry.version, entry.state) == (2, AVAILABLE)

    reload(asked, config)
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "another"
    end = time.monotonic() + 60
    while True:
        try:
            asked.prediction.GetModelMetadata(request, timeout=30)
        except grpc.RpcError as error:
            assert error.code() == NOT_FOUND
            break
        assert time.monotonic() < end, "it is still there"
        time.sleep(0.05)


def test_lists_that_are_refused(asked: Any, config: ModelServerConfig) -> None:
    call = asked.models.HandleReloadConfigRequest
    assert refusal(call, ReloadConfigRequest())[0] == INVALID

    twice = ModelServerConfig()
    twice.CopyFrom(config)
    twice.model_config_list.config.append(config.model_config_list.config[0])
    code, text = refusal(call, ReloadConfigRequest(config=twice))
    assert code == INVALID and asked.model in text

    relative = ModelServerConfig()
    relative.CopyFrom(config)
    relative.model_config_list.config[0].base_path = "somewhere"
    code, text = refusal(call, ReloadConfigRequest(config=relative))
    assert code == INVALID and "somewhere" in text
