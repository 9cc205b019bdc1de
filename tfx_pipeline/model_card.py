"""What is known of a pushed version, beside it, for programs and for people."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tfx_pipeline.code_version import PLATFORM
from tfx_pipeline.config import Config
from tfx_pipeline.file_hashes import file_hashes, folder_hash
from tfx_pipeline.gate.metric_names import FEW_USERS, is_of_few
from tfx_pipeline.read_card import MODEL_CARD, READABLE_CARD

_FORMAT = 1


def model_card(
    version: int,
    config: Config,
    *,
    model_dir: str,
    transform_graph: str,
    counts: Mapping[str, Any],
    verdict: Mapping[str, Any],
    check: Mapping[str, Any],
) -> dict[str, Any]:
    """What is known of a version.

    Args:
      version: Its number.
      config: The config of the run that made it.
      model_dir: Folder of the SavedModel.
      transform_graph: Folder of the transform graph.
      counts: Of the rows, from the ingest report.
      verdict: The gate's.
      check: What `model_check.json` holds.
    """
    whole = config.model_dump_json()
    return {
        "format": _FORMAT,
        "model": config.model_name,
        "version": version,
        "baseline_version": verdict["baseline_version"],
        "days": {
            name: {"start": str(d.start), "end": str(d.end)}
            for name, d in config.data.splits.items()
        },
        "rows": dict(counts),
        "metrics": verdict["metrics"],
        "not_judged": verdict["not_judged"],
        "series": verdict.get("series"),
        "model_check": dict(check),
        "sha256": {
            "model": file_hashes(model_dir),
            "transform_graph": folder_hash(transform_graph),
            "config": hashlib.sha256(whole.encode()).hexdigest(),
        },
        "packages": {name: importlib.metadata.version(name) for name in ("equipoise", *PLATFORM)},
        "config": json.loads(whole),
        "delta": None,
    }


def card_after_delta(
    card: Mapping[str, Any], version: int, model_dir: str, delta: Mapping[str, Any]
) -> dict[str, Any]:
    """What is known of a version that a delta made.

    Args:
      card: Of the whole version that the delta was made of.
      version: Its number.
      model_dir: Folder of its SavedModel.
      delta: What it is: `file`, `whole_version`, `sequence`, `parent` and `rows`.
    """
    hashes = {**card["sha256"], "model": file_hashes(model_dir)}
    return {**card, "version": version, "sha256": hashes, "delta": dict(delta)}


def card_files(card: Mapping[str, Any]) -> dict[str, str]:
    """The card as files by name: as JSON, and as Markdown to read."""
    templates = Environment(
        loader=PackageLoader("tfx_pipeline", "templates/card"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # It is no HTML.
    )
    return {
        MODEL_CARD: json.dumps(card, indent=2, allow_nan=False) + "\n",
        READABLE_CARD: templates.get_template("model_card.md").render(
            card,
            config_text=json.dumps(card["config"], indent=2),
            few_users=FEW_USERS,
            is_of_few=is_of_few,
        ),
    }
