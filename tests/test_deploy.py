"""deploy/: the files hold what their readers take, and agree with each other.

No container is built or started here.
"""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from google.protobuf import text_format

import serving  # noqa: F401  (settles the Keras version before TensorFlow is imported)
from serving.model_server import ModelServer
from serving.model_server.configs import read_batching_parameters, read_model_config
from serving.model_server.rest import METRICS_PATH
from serving.proto_messages import message_classes

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CONFIGS = {"models.config", "monitoring.config", "batching.config"}
# The oldest that is promised, and the newest that the checker knows.
KUBERNETES = ["1.27", kubernetes_validate.latest_version().removesuffix(".0")]
GRPC, REST = 8500, 8501


def manifest(name: str, folder: str = "kubernetes") -> dict[str, Any]:
    text = (DEPLOY / folder / f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"][
    "serving"
]
CRON_JOB = manifest("daily", "kubeflow")
MODEL = read_model_config(DEPLOY / "serving" / "models.config").model_config_list.config[0]
BOTH = pytest.mark.parametrize(
    "arguments", [COMPOSE["command"], CONTAINER["args"]], ids=["compose", "kubernetes"]
)


# Kubernetes


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        *((path.stem, "kubernetes") for path in sorted(DEPLOY.glob("kubernetes/*.yaml"))),
        *((name, "kubeflow") for name in ("runs-volume", "own-volume", "daily")),
    ],
)
def test_manifests_fit_the_schemas_of_kubernetes(name: str, folder: str, version: str) -> None:
    assert kubernetes_validate.validate(manifest(name, folder), version, strict=True) == version


def unknown_field(deployment: dict[str, Any]) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}


def wrong_type(deployment: dict[str, Any]) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = (
        "often"
    )


def nothing_where_something_must_be(deployment: dict[str, Any]) -> None:
    del deployment["spec"]["selector"]


def unknown_api(deployment: dict[str, Any]) -> None:
    deployment["apiVersion"] = "apps/v7"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (unknown_field, kubernetes_validate.ValidationError),
        (wrong_type, kubernetes_validate.ValidationError),
        (nothing_where_something_must_be, kubernetes_validate.ValidationError),
        (unknown_api, kubernetes_validate.SchemaNotFoundError),
    ],
    ids=lambda value: value.__name__,
)
def test_the_checker_sees_what_is_wrong(
    spoil: Callable[[dict[str, Any]], None], error: type[Exception]
) -> None:
    spoilt = copy.deepcopy(DEPLOYMENT)
    spoil(spoilt)
    with pytest.raises(error):
        kubernetes_validate.validate(spoilt, KUBERNETES[-1], strict=True)


def test_service_budget_and_autoscaler_mean_the_pods_of_the_deployment() -> None:
    labels = POD["metadata"]["labels"]
    (spread,) = POD["spec"]["topologySpreadConstraints"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("disruption-budget")["spec"]["selector"]["matchLabels"] == labels
    assert spread["labelSelector"]["matchLabels"] == labels
    assert manifest("autoscaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": DEPLOYMENT["apiVersion"],
        "kind": DEPLOYMENT["kind"],
        "name": DEPLOYMENT["metadata"]["name"],
    }
    assert "replicas" not in DEPLOYMENT["spec"], "the autoscaler's"


def test_a_budget_leaves_a_pod_of_the_fewest() -> None:
    fewest = manifest("autoscaler")["spec"]["minReplicas"]
    assert fewest > manifest("disruption-budget")["spec"]["maxUnavailable"]


def test_an_autoscaler_by_cpu_needs_a_request_of_cpu() -> None:
    (metric,) = manifest("autoscaler")["spec"]["metrics"]
    assert metric["resource"]["name"] == "cpu"
    assert int(CONTAINER["resources"]["requests"]["cpu"]) > 0


def test_ports_go_from_service_through_container_to_server() -> None:
    assert {p["name"]: p["containerPort"] for p in CONTAINER["ports"]} == {
        "grpc": GRPC,
        "rest": REST,
    }
    service = manifest("service")["spec"]["ports"]
    assert {p["name"]: (p["port"], p["targetPort"]) for p in service} == {
        "grpc": (GRPC, "grpc"),
        "rest": (REST, "rest"),
    }


def test_probes_ask_for_the_model_that_is_served() -> None:
    wanted = {"path": f"/v1/models/{MODEL.name}/metadata", "port": "rest"}
    assert CONTAINER["startupProbe"]["httpGet"] == wanted
    assert CONTAINER["readinessProbe"]["httpGet"] == wanted
    assert CONTAINER["livenessProbe"]["tcpSocket"] == {"port": "grpc"}


def test_the_server_goes_on_answering_before_it_is_killed() -> None:
    command, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert int(seconds) < POD["spec"]["terminationGracePeriodSeconds"]


def test_pods_may_change_nothing_but_their_own_tmp() -> None:
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    assert mounts.keys() == volumes.keys()
    claim = volumes["models"]["persistentVolumeClaim"]
    assert claim == {"claimName": manifest("models-volume")["metadata"]["name"], "readOnly": True}
    assert [name for name, mount in mounts.items() if not mount.get("readOnly")] == ["tmp"]
    assert "emptyDir" in volumes["tmp"]
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["automountServiceAccountToken"] is False


def test_prometheus_finds_the_metrics() -> None:
    annotations = POD["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == monitoring().prometheus_config.path
    assert annotations["prometheus.io/port"] == str(REST)
    assert annotations["prometheus.io/scrape"] == "true"


def test_the_kustomization_lists_every_manifest_and_config() -> None:
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text(encoding="utf-8"))
    (generated,) = listed["configMapGenerator"]
    (config,) = (v["configMap"] for v in POD["spec"]["volumes"] if "configMap" in v)

    manifests = {f"kubernetes/{path.name}" for path in DEPLOY.glob("kubernetes/*")}
    assert sorted(listed["resources"]) == sorted(manifests)
    assert sorted(generated["files"]) == sorted(f"serving/{name}" for name in CONFIGS)
    assert generated["name"] == config["name"]


# Kubeflow


def test_the_daily_job_starts_what_was_compiled() -> None:
    """tests/tfx_pipeline/kubeflow/test_submit.py runs the script."""
    pod = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "/config/submit.py", "/config/compiled.yaml"]
    assert flags(container["args"])["days-ago"] == "2", "D is evaluated on D + 1"
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["config"]["mountPath"] == "/config" and mounts["tmp"]["mountPath"] == "/tmp"
    config = {volume["name"]: volume for volume in pod["volumes"]}["config"]["configMap"]
    listed = manifest("kustomization", "kubeflow")
    (generated,) = listed["configMapGenerator"]
    assert generated == {"name": config["name"], "files": ["submit.py", "compiled.yaml"]}
    assert listed["resources"] == ["runs-volume.yaml", "daily.yaml"]
    assert CRON_JOB["spec"]["concurrencyPolicy"] == "Forbid", "a day goes on from the one before"
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert instructions("USER") == [user]


def test_the_volume_is_given_to_the_user_of_the_image() -> None:
    pod = manifest("own-volume", "kubeflow")["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mount,) = container["volumeMounts"]
    assert container["command"] == ["chown", *instructions("USER"), mount["mountPath"]]
    claim = manifest("runs-volume", "kubeflow")["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim


# Compose


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, path], capture_output=True, text=True
    )


def test_the_compose_file_fits_the_schema_of_the_compose_specification() -> None:
    done = check_compose(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("restart:", "restarts:"), ("cap_drop: [ALL]", "cap_drop: ALL"), ("init: true", "init: [1]")],
)
def test_a_spoilt_compose_file_does_not(tmp_path: Path, right: str, wrong: str) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert text.count(right) == 1
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong), encoding="utf-8")

    done = check_compose(tmp_path / "compose.yaml")

    assert done.returncode == 1
    assert "Schema validation errors" in done.stdout


def test_compose_publishes_to_this_host_alone() -> None:
    assert COMPOSE["ports"] == [f"127.0.0.1:{port}:{port}" for port in (GRPC, REST)]


def test_compose_mounts_read_only_what_must_be_there() -> None:
    assert all(v["read_only"] and not v["bind"]["create_host_path"] for v in COMPOSE["volumes"])
    assert COMPOSE["read_only"] is True
    models, config = COMPOSE["volumes"]
    assert models["source"] == f"${{MODELS:-../runs/{MODEL.name}/serving}}"
    assert (DEPLOY / config["source"]).resolve() == DEPLOY / "serving"


def test_the_health_check_tells_whether_a_version_answers(tmp_path: Path) -> None:
    base = tmp_path / "models" / MODEL.name
    base.mkdir(parents=True)
    config = read_model_config(DEPLOY / "serving" / "models.config")
    config.model_config_list.config[0].base_path = str(base)

    with ModelServer(config, rest_port=0, poll_seconds=0.1) as server:
        assert server.rest_address is not None
        assert not healthy(server.rest_address)
        save_model(tmp_path / "beside")
        (tmp_path / "beside").rename(base / "1")
        server.poll()
        assert healthy(server.rest_address)
        shutil.rmtree(base / "1")
        server.poll()
        assert not healthy(server.rest_address)
    assert not healthy(server.rest_address)


def healthy(rest_address: str) -> bool:
    """What the health check says, of another port."""
    how, *command = COMPOSE["healthcheck"]["test"]
    assert how == "CMD"
    script = command.pop()
    assert script.count(f"127.0.0.1/{REST}") == 1
    # Compose makes $$ a $.
    script = script.replace("$$", "$").replace(f"127.0.0.1/{REST}", rest_address.replace(":", "/"))
    return subprocess.run([*command, script], timeout=30, capture_output=True).returncode == 0


def save_model(path: Path) -> None:
    import tensorflow as tf

    model = tf.Module()
    model.double = tf.function(
        lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")]
    )
    tf.saved_model.save(model, str(path), signatures=model.double)


# Both


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def monitoring() -> Any:
    """The MonitoringConfig, whose proto is in no package; the fields are TensorFlow Serving's."""
    classes = message_classes(
        "equipoise.test_deploy",
        {
            "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
            "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
        },
    )
    text = (DEPLOY / "serving" / "monitoring.config").read_text(encoding="utf-8")
    return text_format.Parse(text, classes["MonitoringConfig"]())


def test_the_configs_are_read() -> None:
    assert {path.name for path in (DEPLOY / "serving").iterdir()} == CONFIGS
    assert MODEL.model_platform == "tensorflow"
    assert monitoring().prometheus_config.enable
    assert monitoring().prometheus_config.path == METRICS_PATH
    batching = read_batching_parameters(DEPLOY / "serving" / "batching.config")
    assert batching.batch_timeout_micros > 0


@BOTH
def test_servers_get_the_ports_and_the_configs(arguments: list[str]) -> None:
    given = flags(arguments)
    assert (given["port"], given["rest_api_port"]) == (str(GRPC), str(REST))
    files = {name: Path(value) for name, value in given.items() if name.endswith("_file")}
    assert files == {
        "model_config_file": Path("/config/models.config"),
        "monitoring_config_file": Path("/config/monitoring.config"),
    }


@BOTH
def test_a_batching_file_comes_with_batching(arguments: list[str]) -> None:
    """TensorFlow Serving does not start with the one alone."""
    given = flags(arguments)
    assert ("enable_batching" in given) == ("batching_parameters_file" in given)


def test_threads_are_as_many_as_cores() -> None:
    cores = CONTAINER["resources"]["requests"]["cpu"]
    assert flags(CONTAINER["args"])["tensorflow_session_parallelism"] == cores
    batching = read_batching_parameters(DEPLOY / "serving" / "batching.config")
    assert batching.num_batch_threads == int(cores)
    limits = COMPOSE["deploy"]["resources"]["limits"]
    assert flags(COMPOSE["command"])["tensorflow_session_parallelism"] == limits["cpus"]


def test_models_and_configs_lie_where_the_servers_look() -> None:
    pod = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert [volume["target"] for volume in COMPOSE["volumes"]] == [pod["models"], pod["config"]]
    assert pod["config"] == "/config"
    assert MODEL.base_path == f"{pod['models']}/{MODEL.name}"


def test_the_server_is_the_release_that_the_protos_are_locked_to() -> None:
    lock = (ROOT / "requirements" / "base.txt").read_text(encoding="utf-8")
    (release,) = re.findall(r"^tensorflow-serving-api==(.+)$", lock, re.MULTILINE)
    assert CONTAINER["image"] == COMPOSE["image"] == f"tensorflow/serving:{release}"


# The pipeline's image

DOCKERFILE = DEPLOY / "Dockerfile"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("hadolint")
    return subprocess.run([tool, "--no-color", path], capture_output=True, text=True)


def instructions(name: str) -> list[str]:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} +(.+)$", text, re.MULTILINE)


def sources() -> list[str]:
    """What the Dockerfile copies from the repository."""
    copies = (line.split() for line in instructions("COPY") if not line.startswith("--from"))
    return [source for *from_here, _ in copies for source in from_here]


def test_the_dockerfile_passes_its_linter() -> None:
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_a_spoilt_dockerfile_does_not(tmp_path: Path) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    (tmp_path / "Dockerfile").write_text(text.replace("USER 1000:1000", "USER root"))

    assert "DL3002" in hadolint(tmp_path / "Dockerfile").stdout


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}

    assert [source for source in sources() if not (ROOT / source).exists()] == []
    assert {Path(source).parts[0] for source in sources()} == let_in


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    """tests/test_package.py builds a whole wheel from just these."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == {"transforms", "keras_models", "serving", "tfx_pipeline"}
    assert {*packages, "setup.py", "pyproject.toml"} <= {*sources()}


def test_it_installs_the_locks_on_the_pythons_release() -> None:
    assert instructions("ARG")[0].startswith("PYTHON=3.10.")
    assert 'LOCKS="kubeflow"' in instructions("ARG")
    assert {"requirements/kubeflow.txt", "requirements/gpu.txt"} <= {*sources()}
    assert "--index" not in DOCKERFILE.read_text(encoding="utf-8")


def test_the_locks_agree_but_for_what_kubeflows_client_wants() -> None:
    """Kubeflow's is installed over the GPU's."""
    base, gpu, kubeflow = (
        dict(line.split("==") for line in (ROOT / "requirements" / name).read_text().splitlines())
        for name in ("base.txt", "gpu.txt", "kubeflow.txt")
    )
    for lock in (gpu, kubeflow):
        both = {name for name in lock if name in base and base[name] != lock[name]}
        assert both == ({"urllib3"} if lock is kubeflow else set())
    assert {*base} < {*kubeflow}


def test_kubeflows_launcher_may_write_its_copies() -> None:
    """It runs as the user of the image; see tfx_pipeline.runners.kubeflow_task."""
    (made,) = (line for line in instructions("RUN") if "mkdir /gcs" in line)
    assert "mkdir /gcs /s3 /minio && chown equipoise: /gcs /s3 /minio" in made


def test_it_runs_the_command_as_the_user_who_serves() -> None:
    pod = POD["spec"]["securityContext"]
    user = f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert instructions("USER") == [user]
    assert COMPOSE["user"] == f"${{SERVING_USER:-{user}}}"
    assert f"useradd --uid {pod['runAsUser']}" in DOCKERFILE.read_text(encoding="utf-8")
    assert instructions("ENTRYPOINT") == ['["equipoise"]']
    assert any("TF_USE_LEGACY_KERAS=1" in line for line in instructions("ENV"))
