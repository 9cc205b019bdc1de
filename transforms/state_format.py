"""How a feature state lies in its folder. Starts without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.history import History
from transforms.problems import InputError, Problem

FORMAT = 3

MANIFEST = "state.json"
STATISTICS = "statistics"
HISTORIES = "histories"
EVENTS = "events"

SERVED = "served"
"""Folder, in a state of a day before the last rows, of the state as of the end of all rows."""

USER = "user"
"""Column of the user of a behaviour."""

TIME = "time"
"""Column of its event time."""


def check_format(manifest: Mapping[str, Any], path: str) -> None:
    """Makes sure that a manifest can be read.

    Raises:
      InputError: if it is of another format.
    """
    if manifest["format"] != FORMAT:
        raise InputError(
            [
                Problem(
                    path,
                    f"a feature state of format {manifest['format']}",
                    f"format {FORMAT}",
                    "Ingest the logs again with this version.",
                )
            ]
        )


def history_of(manifest: Mapping[str, Any]) -> History | None:
    """What a state keeps of behaviours."""
    entry: dict[str, Any] | None = manifest["history"]
    if entry is None:
        return None
    return History(**{**entry, "items": tuple(entry["items"]), "labels": tuple(entry["labels"])})
