from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_imports_point_one_way():
    check = "from importlinter.cli import lint_imports_command; lint_imports_command()"

    lint = subprocess.run(
        [sys.executable, "-c", check, "--no-logo"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )

    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_a_check_begins_without_tensorflow():
    """It would print lines of its own above the first mistake, and take seconds."""
    script = "import sys, tfx_pipeline.check; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
