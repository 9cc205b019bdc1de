"""deploy/kubeflow/submit.py, with Kubeflow's own client, against a stand-in for its API server."""

from __future__ import annotations

import datetime
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CONFIG

SUBMIT = CONFIG.parents[1] / "deploy" / "kubeflow" / "submit.py"
ROOT = "gs://bucket/artifacts"
PIPELINE = {
    "pipelineInfo": {"name": "my-job"},
    "root": {
        "dag": {"tasks": {"Gate": {"taskInfo": {"name": "Gate"}}}},
        "inputDefinitions": {"parameters": {"day": {"parameterType": "STRING"}}},
    },
    "schemaVersion": "2.1.0",
    "defaultPipelineRoot": ROOT,
}
PLATFORM = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {
                "executors": {"Gate_executor": {"pvcMount": [{"constant": "c", "mountPath": "/m"}]}}
            }
        }
    }
}


@dataclass
class Server:
    """What it was sent, and what it says of the run."""

    host: str
    sent: list[Any] = field(default_factory=list)
    state: str = "SUCCEEDED"
    errors_before: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            what = self.path.partition("?")[0].rsplit("/apis/v2beta1/")[-1]
            if what == "runs/r1" and found.errors_before:
                found.errors_before -= 1
                self.send_error(503)
                return
            answers = {"healthz": {"multi_user": False}, "runs/r1": run()}
            self._answer(answers.get(what, {}))

        def do_POST(self) -> None:  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.sent.append((self.path, body))
            self._answer({"experiment_id": "e1"} if self.path.endswith("experiments") else run())

        def _answer(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    def run() -> dict[str, Any]:
        return {"run_id": "r1", "experiment_id": "e1", "state": found.state}

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found = Server(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield found
        listening.shutdown()
        thread.join()


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    path = tmp_path / "daily.yaml"
    path.write_text(yaml.safe_dump_all([PIPELINE, PLATFORM]))
    return path


def submit(kubeflow_bin: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [kubeflow_bin / "python", SUBMIT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_was_compiled_is_sent_with_the_day(
    kubeflow_bin: Path, server: Server, compiled: Path
) -> None:
    logs = "--data-path=s3://logs"
    done = submit(kubeflow_bin, compiled, "--host", server.host, "--day", "2024-01-05", logs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "day 2024-01-05: run r1" in done.stdout and "SUCCEEDED" in done.stdout
    sent = dict(server.sent)["/apis/v2beta1/runs"]
    assert sent["runtime_config"]["parameters"] == {"day": "2024-01-05", "data_path": "s3://logs"}
    assert sent["pipeline_spec"] == {"pipeline_spec": PIPELINE, "platform_spec": PLATFORM}
    assert sent["display_name"] == "daily 2024-01-05"
    assert sent["runtime_config"]["pipeline_root"] == ROOT


def test_the_day_that_is_due(kubeflow_bin: Path, server: Server, compiled: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc)
    done = submit(kubeflow_bin, compiled, "--host", server.host, "--days-ago", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    after = datetime.datetime.now(datetime.timezone.utc)
    parameters = dict(server.sent)["/apis/v2beta1/runs"]["runtime_config"]["parameters"]
    due = {f"{now - datetime.timedelta(days=2):%Y-%m-%d}" for now in (before, after)}
    assert set(parameters) == {"day"} and parameters["day"] in due


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_failed_fails_the_job(
    kubeflow_bin: Path, server: Server, compiled: Path, state: str
) -> None:
    server.state = state
    done = submit(kubeflow_bin, compiled, "--host", server.host, "--day", "2024-01-05")
    assert done.returncode == 1 and f"day 2024-01-05: run r1 {state}" in done.stdout


def test_a_server_that_restarts_is_asked_again(
    kubeflow_bin: Path, server: Server, compiled: Path
) -> None:
    server.errors_before = 2
    day = ["--day", "2024-01-05", "--poll", "0.1"]
    done = submit(kubeflow_bin, compiled, "--host", server.host, *day)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("asking again: 503") == 2


def test_a_run_that_takes_too_long_is_named(
    kubeflow_bin: Path, server: Server, compiled: Path
) -> None:
    server.state = "RUNNING"
    day = ["--day", "2024-01-05", "--timeout", "1", "--poll", "0.1"]
    done = submit(kubeflow_bin, compiled, "--host", server.host, *day)
    assert done.returncode == 1 and "run r1 still goes on after 1 s" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "http://127.0.0.1:1"], "one of --day and --days-ago"),
        (["--host", "127.0.0.1:1", "--days-ago", "2"], "http://HOST:PORT"),
        (["--host", "http://127.0.0.1:1", "--day", "05.01.2024"], "does not match the format"),
    ],
)
def test_bad_arguments_send_nothing(
    kubeflow_bin: Path, compiled: Path, arguments: list[str], said: str
) -> None:
    done = submit(kubeflow_bin, compiled, *arguments)
    assert done.returncode == 2 and said in " ".join(done.stderr.replace("│", " ").split())


def test_a_file_that_is_missing_is_named(kubeflow_bin: Path, tmp_path: Path) -> None:
    done = submit(kubeflow_bin, tmp_path / "no.yaml", "--host=http://127.0.0.1:1", "--days-ago=2")
    assert done.returncode == 2 and "no file" in done.stderr
