"""Several models, version policies, labels, reloading and warm-up, as the stand-in has them."""

from __future__ import annotations

import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving import versions
from serving.client import Client, PredictError
from serving.model_server import ModelServer, serve

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def base(toys: list[Path], tmp_path: Path) -> Path:
    """Versions 1, 2 and 3 with the biases 0, 1 and 2."""
    for number, toy in enumerate(toys, 1):
        shutil.copytree(toy, tmp_path / "toy" / str(number))
    return tmp_path / "toy"


def listing(*models: dict[str, Any]) -> ModelServerConfig:
    config = ModelServerConfig()
    for model in models:
        config.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
    return config


def model(base: Path, name: str = "toy", **more: Any) -> dict[str, Any]:
    return {"name": name, "base_path": str(base), **more}


def click(client: Client, name: str = "toy", **version: Any) -> float:
    return float(client.predict(name, [{"age": 0.0}], **version)["click"][0])


def sigmoid(bias: float) -> Any:
    return pytest.approx(1 / (1 + math.exp(-bias)), abs=1e-6)


def wait_until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_several_models(base: Path, toys: list[Path], tmp_path: Path) -> None:
    shutil.copytree(toys[0], tmp_path / "other" / "5")
    config = listing(model(base), model(tmp_path / "other", "other"))
    with ModelServer(config) as server, Client(server.address) as client:
        assert server.models == ["toy", "other"]
        assert (server.versions("toy"), server.versions("other")) == ([3], [5])
        assert click(client) == sigmoid(2)
        assert click(client, "other") == sigmoid(0)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [3]),
        ({"latest": {}}, [3]),
        ({"latest": {"num_versions": 2}}, [2, 3]),
        ({"all": {}}, [1, 2, 3]),
        ({"specific": {"versions": [1, 3, 7]}}, [1, 3]),
    ],
    ids=str,
)
def test_policies(base: Path, policy: Any, expected: list[int]) -> None:
    with ModelServer(listing(model(base, model_version_policy=policy))) as server:
        assert server.versions("toy") == expected


def test_a_version_that_is_removed_goes(base: Path) -> None:
    with ModelServer(base, "toy", poll_seconds=60) as server, Client(server.address) as client:
        assert click(client) == sigmoid(2)
        shutil.rmtree(base / "3")
        server.poll()
        assert (server.versions("toy"), click(client)) == ([2], sigmoid(1))
        for rest in "12":
            shutil.rmtree(base / rest)
        server.poll()
        with pytest.raises(PredictError, match=r"NOT_FOUND: .*Latest\(toy\)"):
            click(client)
        assert [(found.version, found.state) for found in client.status("toy")] == [
            (3, "END"),
            (2, "END"),
        ]


def test_old_versions_stay_until_a_new_one_answers(base: Path) -> None:
    policy = {"latest": {"num_versions": 2}}
    config = listing(model(base, model_version_policy=policy))
    with ModelServer(config, poll_seconds=60) as server:
        (base / "8").mkdir()
        (base / "9").mkdir()
        server.poll()
        assert server.versions("toy") == [2, 3]  # Nothing in 8 and 9 loads.
        shutil.copytree(base / "1", base / "10")
        server.poll()
        assert server.versions("toy") == [10]


# --- labels -----------------------------------------------------------------------------------


def test_labels_at_the_start_need_leave(base: Path) -> None:
    config = listing(model(base, version_labels={"stable": 3}))
    with pytest.raises(ValueError, match="Request to assign label to version 3 of model toy, whic"):
        ModelServer(config)
    with (
        ModelServer(config, labels_of_unavailable=True) as server,
        Client(server.address) as client,
    ):
        assert click(client, label="stable") == sigmoid(2)
        with pytest.raises(PredictError, match="Unrecognized servable version label: canary"):
            click(client, label="canary")


def test_a_label_goes_to_a_version_that_is_loaded(base: Path) -> None:
    everything = {"all": {}}
    config = listing(model(base, model_version_policy=everything))
    with ModelServer(config) as server, Client(server.address) as client:
        server.reload(
            listing(model(base, model_version_policy=everything, version_labels={"stable": 1}))
        )
        assert click(client, label="stable") == sigmoid(0)
        with pytest.raises(ValueError, match="label to version 7 of model toy"):
            server.reload(listing(model(base, version_labels={"stable": 7})))
        assert click(client, label="stable") == sigmoid(0)
        assert server.versions("toy") == [1, 2, 3]


def test_a_label_in_use_moves_only_to_a_version_that_is_loaded(base: Path) -> None:
    policy = {"specific": {"versions": [1, 2]}}

    def labelled(version: int) -> ModelServerConfig:
        labels = {"stable": version}
        return listing(model(base, model_version_policy=policy, version_labels=labels))

    with ModelServer(labelled(1), labels_of_unavailable=True) as server:
        server.reload(labelled(2))
        with pytest.raises(ValueError, match="label to version 3"):
            server.reload(labelled(3))


# --- reloading --------------------------------------------------------------------------------


def test_a_new_model_is_there_when_the_call_returns(base: Path) -> None:
    with ModelServer(base, "toy", poll_seconds=60) as server, Client(server.address) as client:
        server.reload(listing(model(base), model(base, "more")))
        assert click(client, "more") == sigmoid(2)
        server.reload(listing(model(base, "more")))
        assert server.models == ["more"]
        with pytest.raises(PredictError, match=r"NOT_FOUND: .*Latest\(toy\)"):
            click(client)
        assert [found.state for found in client.status("toy")] == ["END"]
        assert click(client, "more") == sigmoid(2)


def test_a_new_policy_holds_soon(base: Path) -> None:
    with ModelServer(base, "toy", poll_seconds=60) as server:
        server.reload(listing(model(base, model_version_policy={"all": {}})))
        wait_until(lambda: server.versions("toy") == [1, 2, 3])


def test_a_new_model_that_does_not_load(base: Path, tmp_path: Path) -> None:
    (tmp_path / "bad" / "1").mkdir(parents=True)
    with ModelServer(base, "toy") as server, Client(server.address) as client:
        with pytest.raises(
            ValueError,
            match=r"1 model\(s\) did not become available: \{\{\{name: bad version: 1\} due to err",
        ):
            server.reload(listing(model(base), model(tmp_path / "bad", "bad")))
        assert click(client) == sigmoid(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_path": "/nowhere/at/all", "name": "new"}, "Could not find base path /nowhere/at"),
        ({"base_path": "here"}, "Expected model toy to have an absolute path or URI; got base_pat"),
        ({"model_platform": ""}, "Illegal setting neither"),
        ({"model_platform": "onnx"}, "Model toy requests unsupported platform onnx"),
        ({"model_type": "TENSORFLOW"}, "Illegal setting both"),
        ({"logging_config": {}}, "logging_config of model toy: requests are not logged here"),
    ],
    ids=str,
)
def test_lists_that_are_refused(base: Path, change: Any, message: str) -> None:
    with ModelServer(base, "toy") as server, Client(server.address) as client:
        with pytest.raises(ValueError, match=message):
            server.reload(listing({**model(base), **change}))
        assert click(client) == sigmoid(2)


def test_a_custom_config_is_refused() -> None:
    config = ModelServerConfig()
    config.custom_model_config.SetInParent()
    with pytest.raises(ValueError, match="custom_model_config: expected a model_config_list"):
        ModelServer(config)


def test_a_config_file_is_read_again(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.config"
    entry = f'config {{ name: "%s" base_path: "{base}" model_platform: "tensorflow" }}'
    file.write_text(f"model_config_list {{ {entry % 'toy'} }}")
    found: list[float] = []

    def ask_then_interrupt(address: str) -> None:
        with Client(address, timeout=30, retries=100) as client:
            wait_until(lambda: _answers(client, "toy"))
            file.write_text("model_config_list {")
            time.sleep(0.3)
            found.append(click(client))
            file.write_text(f"model_config_list {{ {entry % 'renamed'} }}")
            wait_until(lambda: _answers(client, "renamed"))

    _serve_while(
        ask_then_interrupt, model_config_file=str(file), config_poll_seconds=0.05, rest_port=0
    )
    assert found == [sigmoid(2)]
    printed = capfd.readouterr()
    assert "for REST on 127.0.0.1:" in printed.out and "model toy, version 3" in printed.out
    assert "models.config is not in use: " in printed.err
    assert "models.config has changed and is in use" in printed.err


def _answers(client: Client, name: str) -> bool:
    try:
        click(client, name)
    except PredictError:
        return False
    return True


def _serve_while(work: Any, **options: Any) -> None:
    """Runs `serve` in the main thread while another one works."""
    import os
    import signal
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(f"127.0.0.1:{port}")
        except BaseException as error:
            failed.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    serve(port=port, **options)
    thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("model_config_file", "model_config_list { config { nam: 'x' } }", 'no field named "nam"'),
        ("batching_parameters_file", "max_batch_size { value: 0 }", "max_batch_size: found 0; exp"),
        ("batching_parameters_file", "pad_variable_length_inputs: true", "no field named"),
        ("ssl_config_file", "server_key: 'key.pem' server_cert: 'c'", "server_key: found no PEM"),
        ("ssl_config_file", "client_verify: perhaps", "expected a SSLConfig in text format"),
    ],
)
def test_files_that_are_none(
    base: Path, tmp_path: Path, option: str, text: str, message: str
) -> None:
    file = tmp_path / "file.config"
    file.write_text(text)
    folder = {} if option == "model_config_file" else {"base_dir": str(base)}
    with pytest.raises(ValueError, match=rf"file\.config: .*{message}"):
        serve(**folder, port=0, **{option: str(file)})


def test_neither_folder_nor_file(base: Path) -> None:
    for both in ({}, {"base_dir": str(base), "model_config_file": "x"}):
        with pytest.raises(ValueError, match="either a folder of versions or a model config file"):
            serve(**both)


# --- warm-up ----------------------------------------------------------------------------------


def write_warmup(version: Path, *records: bytes) -> None:
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra/tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def predict_log(as_examples: Any, signature: str = "") -> PredictionLog:
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    examples = tf.make_tensor_proto(as_examples([{"age": 1.0}]))
    log.predict_log.request.inputs["examples"].CopyFrom(examples)
    return log


def test_warm_up_requests_are_run(
    base: Path, as_examples: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "serving")
    write_warmup(base / "3", *[predict_log(as_examples).SerializeToString()] * 5)
    with ModelServer(base, "toy"):
        assert "toy version 3: 5 warm-up requests" in caplog.text


@pytest.mark.parametrize(
    ("records", "code", "text"),
    [
        ([b"\xff\xff"], INVALID, "Failed to parse warmup record 1 from "),
        ("unknown signature", grpc.StatusCode.FAILED_PRECONDITION, 'key "rang" not found'),
        ("too many", INVALID, "Number of warmup records exceeds the maximum (1000) at "),
        ("session run", grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup: sess"),
    ],
)
def test_a_version_whose_warm_up_fails_is_not_served(
    base: Path, as_examples: Any, records: Any, code: grpc.StatusCode, text: str
) -> None:
    if records == "unknown signature":
        records = [predict_log(as_examples, "rang").SerializeToString()]
    elif records == "too many":
        records = [PredictionLog().SerializeToString()] * 1001
    elif records == "session run":
        log = PredictionLog()
        log.session_run_log.SetInParent()
        records = [log.SerializeToString()]
    with ModelServer(base, "toy", poll_seconds=60) as server, Client(server.address) as client:
        shutil.copytree(base / "1", base / "4")
        write_warmup(base / "4", *records)
        for _ in range(6):
            server.poll()
        assert click(client) == sigmoid(2)
        newest = client.status("toy")[0]
        assert (newest.version, newest.state) == (4, "END")
        assert text in newest.error


def test_a_warm_up_file_that_is_cut_off(base: Path, as_examples: Any) -> None:
    write_warmup(base / "3", predict_log(as_examples).SerializeToString())
    file = base / "3/assets.extra/tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-3])
    with ModelServer(base, "toy") as server, Client(server.address) as client:
        assert server.versions("toy") == []
        (status,) = client.status("toy")
        assert status.state == "LOADING" and status.error


def test_states_of_a_version_that_is_tried_again(base: Path) -> None:
    (base / "4").mkdir()
    with ModelServer(base, "toy", poll_seconds=60) as server:
        for _ in range(5):
            assert server._models.states("toy")[4].state == ModelVersionStatus.LOADING
            server.poll()
        assert server._models.states("toy")[4].state == ModelVersionStatus.END


def test_a_version_that_arrives_slowly_is_loaded_when_it_is_whole(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ModelServer(base, "toy", poll_seconds=60) as server, Client(server.address) as client:
        shutil.copytree(base / "1" / "variables", base / "4" / "variables")
        for _ in range(10):
            server.poll()
        assert server._models.states("toy")[4].state == ModelVersionStatus.END
        shutil.copyfile(base / "1" / "saved_model.pb", base / "4" / "saved_model.pb")
        server.poll()
        assert (server.versions("toy"), click(client)) == ([4], sigmoid(0))
    assert caplog.text.count("toy version 4 does not load") == 1


def test_a_version_that_never_loaded_and_is_removed_has_ended(base: Path) -> None:
    (base / "4").mkdir()
    with ModelServer(base, "toy", poll_seconds=60) as server:
        assert server._models.states("toy")[4].state == ModelVersionStatus.LOADING
        (base / "4").rmdir()
        server.poll()
        state = server._models.states("toy")[4]
        assert state.state == ModelVersionStatus.END and state.error_message
        (base / "5").mkdir()
        server.poll()
        base.rename(base.with_name("away"))
        server.poll()
        assert server._models.states("toy")[5].state == ModelVersionStatus.END
        assert server.versions("toy") == [3]


def test_a_base_folder_that_cannot_be_read(
    base: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(base / "1", tmp_path / "other" / "1")
    config = listing(model(base), model(tmp_path / "other", "other"))
    folders = versions.folders

    def unreadable(folder: Path) -> Any:
        if folder == base:
            raise PermissionError(13, "Permission denied", str(folder))
        return folders(folder)

    with ModelServer(config, poll_seconds=60) as server, Client(server.address) as client:
        monkeypatch.setattr(versions, "folders", unreadable)
        shutil.copytree(base / "2", tmp_path / "other" / "2")
        for _ in range(3):
            server.poll()
        found = f"toy: {base}: found a folder that cannot be read: [Errno 13] Permission denied"
        assert caplog.text.count(found) == caplog.text.count("cannot be read") == 1
        # Neither what is loaded nor the other model suffers.
        assert click(client) == sigmoid(2)
        assert server.versions("other") == [2]
        monkeypatch.undo()
        base.rename(base.with_name("away"))
        for _ in range(3):
            server.poll()
        assert caplog.text.count(f"toy: {base}: found no such folder; what is loaded stays") == 1


def test_folders_with_zeros_before_the_number(base: Path) -> None:
    (base / "3").rename(base / "0003")
    (base / str(2**63)).mkdir()
    with ModelServer(base, "toy") as server, Client(server.address) as client:
        assert (server.versions("toy"), click(client)) == ([3], sigmoid(2))
