"""Deltas between pushed versions: what `equipoise delta` does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import versions
from serving.delta import (
    SYNC_FILE,
    Counts,
    SyncPolicy,
    make_delta,
    push_delta,
    read_delta,
    read_version,
    write_delta,
)
from tfx_pipeline.config.serving import DeltaConfig
from tfx_pipeline.model_card import (
    MODEL_CARD,
    READABLE_CARD,
    card_after_delta,
    card_files,
    read_card,
)
from transforms.problems import InputError, Problem


@dataclass(frozen=True)
class Exported:
    """A delta that was written.

    Args:
      path: The file.
      size: Its bytes.
      whole_size: Bytes of the version that it was made of.
      parent: Number of the version that it is for.
      counts: Its rows.
    """

    path: Path
    size: int
    whole_size: int
    parent: int
    counts: Counts


def export_delta(base: Path, candidate: Path, out: Path) -> Exported:
    """Writes what the newest version of a base folder needs to become like a candidate.

    Args:
      base: Folder of the versions that are served.
      candidate: Folder of a whole version, whose model was trained on from that one's. Its card
        holds the policy.
      out: Folder for the file.

    Raises:
      InputError: There is no such version, or it was trained without `serving.delta`.
      DeltaRefusedError: The two have not enough in common.
    """
    newest = versions.latest(base)
    if newest is None:
        raise InputError([Problem(str(base), "no version", "the folder of a model's versions")])
    card = read_card(candidate)
    settings = card["config"]["serving"].get("delta")
    if settings is None:
        raise InputError(
            [
                Problem(
                    f"{candidate}: serving.delta of its config",
                    "nothing",
                    "which embedding rows go along; {} for all that differ",
                    "Set it and train. Push the whole version.",
                )
            ]
        )
    policy = SyncPolicy(**DeltaConfig.model_validate(settings).model_dump())
    number, folder = newest
    about = candidate / versions.EXTRA
    delta, counts = make_delta(
        read_version(folder),
        read_version(candidate),
        policy,
        number=number,
        where=str(candidate),
        extra={
            str(path.relative_to(about)): path.read_bytes()
            for path in sorted(about.rglob("*"))
            if path.is_file() and path.name not in (SYNC_FILE, MODEL_CARD, READABLE_CARD)
        },
        about={"card": card},
    )
    delta = dataclasses.replace(delta, about={**delta.about, "rows": dataclasses.asdict(counts)})
    path = out / delta.name
    size = write_delta(delta, path)
    whole = sum(file.stat().st_size for file in candidate.rglob("*") if file.is_file())
    return Exported(path, size, whole, number, counts)


def apply_delta(path: Path, base: Path) -> tuple[int, bool]:
    """Adds the version that a delta makes of the newest one of a base folder.

    Args:
      path: The delta.
      base: Folder of the versions.

    Returns:
      The newest version's number, and whether it is new.

    Raises:
      DeltaRefusedError: It is damaged, or not for the newest version.
    """
    delta = read_delta(path)
    card: dict[str, Any] = delta.about["card"]
    known = {
        "file": delta.name,
        "whole_version": delta.place.whole,
        "sequence": delta.place.sequence,
        "parent": delta.parent,
        "rows": delta.about["rows"],
    }

    def describe(number: int, folder: Path) -> dict[str, str]:
        return card_files(card_after_delta(card, number, str(folder), known))

    return push_delta(delta, base, card["config"]["serving"]["keep_versions"], describe)
