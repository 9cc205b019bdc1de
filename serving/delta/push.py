"""Applies a delta to the newest version of a base folder, as its next version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from serving import versions
from serving.delta.delta import Delta
from serving.delta.refused import PUSH_WHOLE, DeltaRefusedError
from serving.delta.version import read_version, write_version


def push_delta(
    delta: Delta,
    base_dir: str | Path,
    keep: int,
    describe: Callable[[int, Path], Mapping[str, str]] | None = None,
) -> tuple[int, bool]:
    """Adds the version that a delta makes of the newest one.

    It is written beside and renamed into place, as `serving.versions.push` does it. A delta of the
    newest version's chain that was applied already changes nothing.

    Args:
      delta: What to apply.
      base_dir: Folder of the versions.
      keep: Versions to keep, the new one included; older ones are removed.
      describe: Gives texts about the version of a number that was written to a folder, to be files
        under `assets.extra/` of it, by their names.

    Returns:
      The newest version's number, and whether it is new.

    Raises:
      DeltaRefusedError: if the newest version is not the one that the delta is for, or is damaged.
      DiskFullError: if there is no room for it; nothing of it stays.
    """
    if versions.latest(base_dir) is None:
        _refuse_none(delta, base_dir)
    written = []

    def write(number: int, newest: Path | None, beside: Path) -> bool:
        if newest is None:
            _refuse_none(delta, base_dir)
        parent = read_version(newest)
        made = delta.apply(parent, str(newest))
        if made is None:
            return False
        write_version(made, beside)
        _write_extra(beside, delta.extra)
        if describe is not None:
            texts = describe(number, beside)
            _write_extra(beside, {name: text.encode() for name, text in texts.items()})
        written.append(number)
        return True

    return versions.add(base_dir, keep, write), bool(written)


def _refuse_none(delta: Delta, base_dir: str | Path) -> NoReturn:
    found = "no version" if Path(base_dir).is_dir() else "no such folder"
    raise DeltaRefusedError(base_dir, found, f"the version that {delta.name} is for", PUSH_WHOLE)


def _write_extra(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / versions.EXTRA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
