"""What a person sees while a pipeline runs, and what goes to the log file."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import logging as absl_logging
from rich.console import Console

from tfx_pipeline.progress import PROGRESS_LOGGER, component_lines

RUN = """
import logging, os, sys, warnings
from pathlib import Path
from tfx_pipeline.progress import quiet
with quiet(Path(sys.argv[1])) as console:
    print("from python")
    os.write(2, b"from C++\\n")
    warnings.warn("a warning")
    logging.getLogger("x").warning("a record")
    console.print("for the screen")
print("after")
"""


def lines_of(screen: io.StringIO) -> list[str]:
    """The lines, with single blanks and without their seconds."""
    text = re.sub(r"\d+\.\d s", "T s", screen.getvalue())
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_line_per_component() -> None:
    screen = io.StringIO()
    import logging

    with component_lines(Console(file=screen)):
        absl_logging.info("Component %s is running.", "Transform")
        absl_logging.info("something else")
        absl_logging.info("A cached execution %d is used.", 7)
        absl_logging.info("Component %s is finished.", "Transform")
        absl_logging.info("Component %s is running.", "Trainer")
        logging.getLogger(PROGRESS_LOGGER).info("epoch 1/2")
        absl_logging.info("Component %s is finished.", "Trainer")
    assert lines_of(screen) == ["✓ Transform T s reused", "epoch 1/2", "✓ Trainer T s"]


def test_the_component_that_failed_is_marked() -> None:
    screen = io.StringIO()
    with pytest.raises(RuntimeError), component_lines(Console(file=screen)):
        absl_logging.info("Component %s is running.", "Trainer")
        raise RuntimeError
    assert lines_of(screen) == ["✗ Trainer T s"]


def test_quiet_sends_all_but_the_console_to_the_file(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(log)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout == "for the screen\nafter\n" and done.stderr == ""
    text = log.read_text()
    for kept in ("from python", "from C++", "a warning", "a record"):
        assert kept in text
