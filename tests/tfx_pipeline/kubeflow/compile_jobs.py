"""Runs `equipoise compile` again and again, and reads what it wrote.

    python compile_jobs.py ARGUMENTS RESULTS

reads a list of the arguments of each and writes a list of `{"returncode", "stdout", "stderr",
"compiled"}`, as JSON. It needs the environment of `make kubeflow`, and `tests` to be importable.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from compiled import read

from tests.command_line import equipoise

if __name__ == "__main__":
    results = []
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        done = equipoise("compile", *arguments)
        written = Path(arguments[1])
        results.append(
            {
                "returncode": done.returncode,
                "stdout": done.stdout,
                "stderr": done.stderr,
                "compiled": dataclasses.asdict(read(written)) if written.exists() else None,
            }
        )
    Path(sys.argv[2]).write_text(json.dumps(results))
