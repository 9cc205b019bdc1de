"""What files hold, in few characters."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_hashes(folder: str) -> dict[str, str]:
    """SHA-256 of every file of a folder, by its path in it."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def folder_hash(folder: str) -> str:
    """SHA-256 of the names and contents of all files of a folder."""
    lines = (f"{sha}  {name}\n" for name, sha in file_hashes(folder).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
