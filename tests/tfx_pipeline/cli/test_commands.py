"""What holds for every command of `equipoise`."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tfx_pipeline.cli import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_gives_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0 and "Example" in result.stdout
    assert get_command(app).commands[name].help  # type: ignore[attr-defined]


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = "import sys, tfx_pipeline.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)
    modules = set(done.stdout.decode().split())
    assert "typer" in modules
    assert not modules & {"tensorflow", "tf_keras", "tfx", "apache_beam", "numpy", "pyarrow"}
