"""A model server in a process of its own, as tests that kill or weigh one need it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_SCRIPT = (
    "import sys; from serving.model_server import serve; "
    "serve(sys.argv[1], 'toy', port=0, poll_seconds=0.02)"
)


def start_server(base: Path) -> tuple[subprocess.Popen[str], str]:
    """Serves the versions of a base folder as `toy`; gives the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        found = re.search(r"answers on ([\d.:]+): ", process.stdout.readline())
    assert found
    return process, found[1]
