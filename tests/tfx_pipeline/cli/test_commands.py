"""What holds for every command of `equipoise`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tfx_pipeline.cli import app

from ...command_line import Command


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Names of all commands, those of a group after the group's."""
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("path", commands(get_command(app)), ids=" ".join)
def test_help_says_what_it_does_and_gives_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    _, usage, said = re.split(r"^ *(Usage: .*)$", result.stdout, flags=re.MULTILINE)
    assert " ".join(path) in usage and len(said.strip().splitlines()[0].split()) > 3
    assert f"Example: equipoise {' '.join(path)} " in " ".join(said.split())


def test_what_has_ended_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another process group's by then."""
    process = Command("--version")
    assert process.wait(60).stdout.startswith("equipoise ")
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *call: killed.append(call))
    process.kill()
    assert not killed


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = "import sys, tfx_pipeline.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)
    modules = set(done.stdout.decode().split())
    assert "typer" in modules
    assert not modules & {"tensorflow", "tf_keras", "tfx", "apache_beam", "numpy", "pyarrow"}
