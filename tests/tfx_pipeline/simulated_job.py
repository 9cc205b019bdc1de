"""The simulated config on few rows, as a user runs it, and what it left."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..command_line import EQUIPOISE, equipoise

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
SMALL = [
    *("training.epochs=2", "training.batch_size=256", "gate.auc_floor=0.4"),
    "features.statistics=[{by: [item_id], of: [click]}, {by: [user_id, tab], of: [like]}]",
]


@dataclass(frozen=True)
class FinishedRun:
    """The first run in a workdir, which later ones may have gone on in.

    Args:
      folder: Holds `logs`, which those may have changed, and `work`.
      logs: A copy of the logs, which nothing changes.
      process: How it ended, and what it printed.
      summary: Its summary.
    """

    folder: Path
    logs: Path
    process: subprocess.CompletedProcess[str]
    summary: dict[str, Any]


def arguments(logs: Path, workdir: Path, *overrides: str) -> list[str]:
    """Those of `run` and `worker`."""
    settings = [f"data.path={logs}", *SMALL, *overrides]
    sets = [part for setting in settings for part in ("--set", setting)]
    return [str(CONFIG), "--workdir", str(workdir), *sets]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs it on `folder/logs` in the workdir `folder/work`."""
    return equipoise("run", *arguments(folder / "logs", folder / "work", *overrides))


def run_script(folder: Path) -> subprocess.CompletedProcess[str]:
    """The same by the installed script."""
    return subprocess.run(
        [EQUIPOISE, "run", *arguments(folder / "logs", folder / "work")],
        capture_output=True,
        text=True,
        timeout=600,
    )


def summary_of(folder: Path) -> dict[str, Any]:
    """That of the newest run."""
    return json.loads((folder / "work" / "summary.json").read_text())
