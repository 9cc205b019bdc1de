"""Deltas between pushed versions: what `equipoise delta` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jinja2 import UndefinedError

from serving import versions
from serving.delta import (
    SYNC_FILE,
    Counts,
    DeltaRefusedError,
    SyncPolicy,
    has_signature,
    make_delta,
    push_delta,
    read_delta,
    read_key,
    read_version,
    write_delta,
)
from serving.delta.refused import MEND
from tfx_pipeline.config.serving import DeltaConfig
from tfx_pipeline.file_hashes import file_hashes
from tfx_pipeline.model_card import card_after_delta, card_files
from tfx_pipeline.read_card import MODEL_CARD, READABLE_CARD, read_card
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


@dataclass(frozen=True)
class Applied:
    """A delta that was applied.

    Args:
      version: Number of the newest version now.
      is_new: Whether that came of it; else it was applied before.
      is_unverified: Whether it is signed, and no key was given to say by whom.
    """

    version: int
    is_new: bool
    is_unverified: bool


def export_delta(base: Path, candidate: Path, out: Path, key: Path | None = None) -> Exported:
    """Writes what the newest version of a base folder needs to become like a candidate.

    Args:
      base: Folder of the versions that are served.
      candidate: Folder of a whole version, whose model was trained on from that one's. Its card
        holds the policy.
      out: Folder for the file.
      key: File with the key that signs it.

    Raises:
      InputError: There is no such version, or it was trained without `serving.delta`.
      DeltaRefusedError: The two have not enough in common, one of them is damaged, or the key is
        none.
    """
    secret = None if key is None else read_key(key)
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
    for version in (folder, candidate):
        _check_undamaged(version)
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
    size = write_delta(delta, path, secret)
    whole = sum(file.stat().st_size for file in candidate.rglob("*") if file.is_file())
    return Exported(path, size, whole, number, counts)


def apply_delta(path: Path, base: Path, key: Path | None = None) -> Applied:
    """Adds the version that a delta makes of the newest one of a base folder.

    Args:
      path: The delta.
      base: Folder of the versions.
      key: File with the key that it has to be signed with.

    Raises:
      DeltaRefusedError: It is damaged, not signed with the key, or not for the newest version.
      DiskFullError: There is no room for its version.
    """
    delta = read_delta(path, None if key is None else read_key(key))

    def describe(number: int, folder: Path) -> dict[str, str]:
        with _known_card(path):
            known = {
                "file": delta.name,
                "whole_version": delta.place.whole,
                "sequence": delta.place.sequence,
                "parent": delta.parent,
                "rows": delta.about["rows"],
            }
            return card_files(card_after_delta(delta.about["card"], number, str(folder), known))

    with _known_card(path):
        keep = delta.about["card"]["config"]["serving"]["keep_versions"]
        if type(keep) is not int or keep < 1:
            raise ValueError(f"keep_versions: {keep!r}")
    try:
        version, is_new = push_delta(delta, base, keep, describe)
    except DeltaRefusedError:
        newest = versions.latest(base)
        if newest is not None:
            _check_undamaged(newest[1])
        raise
    return Applied(version, is_new, is_unverified=key is None and has_signature(path))


@contextmanager
def _known_card(path: Path) -> Iterator[None]:
    """Refuses a delta whose card is not what this release writes."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, UndefinedError) as error:
        raise DeltaRefusedError(
            path,
            f"a model card that is of another release, or of none ({error})",
            "that of a version which a run pushed",
            "Make and apply deltas with the same version of this package.",
        ) from error


def _check_undamaged(version: Path) -> None:
    """Compares a version with its card, where it has one.

    Raises:
      DeltaRefusedError: A file of the model is not as it was when the card was written.
    """
    if not (version / versions.EXTRA / MODEL_CARD).is_file():
        return
    expected = read_card(version)["sha256"]["model"]
    found = file_hashes(str(version))
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise DeltaRefusedError(
                f"{version}: {name}",
                "a damaged file" if name in found else "no such file",
                f"SHA-256 {digest[:12]}…, as {MODEL_CARD} has it",
                MEND,
            )
