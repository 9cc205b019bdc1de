"""The card of a pushed version, as later runs and deltas read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.versions import EXTRA
from transforms.problems import InputError, Problem

MODEL_CARD = "model_card.json"
READABLE_CARD = "model_card.md"


def read_card(version_dir: str | Path) -> dict[str, Any]:
    """The card of a version.

    Args:
      version_dir: Its folder.

    Raises:
      InputError: There is none, or it is damaged.
    """
    path = Path(version_dir, EXTRA, MODEL_CARD)
    if not path.is_file():
        raise InputError(
            [
                Problem(
                    str(path),
                    "no such file",
                    "the card of a version that a run pushed",
                    "Name a version's folder, as runs/NAME/serving/MODEL/NUMBER.",
                )
            ]
        )
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            [
                Problem(
                    str(path),
                    f"what is no JSON ({error})",
                    "the card as it was pushed",
                    "Copy the version again from a host where it is whole.",
                )
            ]
        ) from error
    return card
