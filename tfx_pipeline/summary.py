"""`summary.json`: the outcome of a run, for scripts; its keys are a contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx_pipeline.artifacts import read_json
from tfx_pipeline.config import Config
from tfx_pipeline.run_record import ComponentRun
from tfx_pipeline.whole_file import write_whole

SUMMARY = "summary.json"


def build_summary(config_path: str, config: Config, run: dict[str, ComponentRun]) -> dict[str, Any]:
    """Gathers the outcome from the artifacts of a run.

    Args:
      config_path: The config file, as it was given.
      config: What it held.
      run: The components that ran.

    Returns:
      What `summary.json` holds.
    """
    counts = read_json(run["LogExampleGen"].outputs["ingest_report"], "counts.json")
    verdict = read_json(run["Gate"].outputs["verdict"], "verdict.json")
    pushed = run["Pusher"].properties["pushed_model"].get("pushed_version")
    return {
        "config": config_path,
        "model": config.model_name,
        "data": counts,
        "components": [
            {"name": c.name, "seconds": round(c.seconds, 3), "cached": c.cached}
            for c in run.values()
        ],
        "metrics": verdict["metrics"],
        "gate": {
            "blessed": verdict["blessed"],
            "confidence": verdict["confidence"],
            "failures": verdict["failures"],
            "not_judged": verdict["not_judged"],
            "warnings": verdict["warnings"],
            "notes": verdict["notes"],
            "baseline_version": verdict["baseline_version"],
        },
        "pushed_version": int(pushed) if pushed else None,
    }


def write_summary(summary: dict[str, Any], folder: Path) -> Path:
    """Writes `summary.json` beside its place and renames it in."""
    path = folder / SUMMARY
    write_whole(path, json.dumps(summary, indent=2, allow_nan=False) + "\n", "the summary")
    return path
