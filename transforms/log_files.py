"""Which files a job reads, and a fingerprint of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.days import Splits
from transforms.problems import InputError, Problem
from transforms.readers import file_format
from transforms.row_reader import LogFile

_DAY_PARTS = {"{YYYY}": "%Y", "{MM}": "%m", "{DD}": "%d"}
_CHUNK = 8 << 20


def open_file(path: str) -> BinaryIO:
    """Opens a file on any of Beam's file systems, as it is stored."""
    return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


def find_files(root: str, pattern: str, key: str) -> tuple[list[str], list[Problem]]:
    """Files below a folder that match a glob.

    Args:
      root: The folder.
      pattern: The glob.
      key: The config key that the pattern comes from.

    Returns:
      The files, by name; and a problem if there are none.
    """
    paths = _match(root, pattern)
    if paths:
        return paths, []
    problem = Problem(
        FileSystems.join(root, pattern),
        "no such file",
        f"at least one, for {key}",
        f"Set data.path, which is {root}, or {key}.",
    )
    return [], [problem]


def find_log_files(
    root: str, pattern: str, format: str, splits: Splits, day_column: str | None
) -> tuple[list[LogFile], list[Problem]]:
    """Files of the log that hold days that are needed.

    Args:
      root: Folder of the log.
      pattern: Glob below it; `{YYYY}`, `{MM}` and `{DD}` stand for the day.
      format: Their format, or `auto`.
      splits: Which days are needed.
      day_column: Column of the day. None where the path tells it.

    Returns:
      The files, by name; and a problem for every day without one, for names that do not tell
      the format, and if nothing tells a row's day.
    """
    parts = [part for part in _DAY_PARTS if part in pattern]
    if day_column is None and len(parts) < len(_DAY_PARTS):
        problem = Problem(
            "data.day.column",
            f"nothing, and data.logs is {pattern!r}",
            "a row's day, from a column or from {YYYY}, {MM} and {DD} in data.logs",
        )
        return [], [problem]
    days: dict[str, int | None]
    if parts:
        days, problems = _files_by_day(root, pattern, splits, day_column is None)
    else:
        paths, problems = find_files(root, pattern, "data.logs")
        days = dict.fromkeys(paths)
    files = []
    for i, path in enumerate(sorted(days)):
        try:
            files.append(LogFile(i, path, file_format(path, format), days[path]))
        except InputError as error:
            problems += error.problems
    return files, problems


def fingerprint(paths: Iterable[str], root: str) -> str:
    """A hash of the names, sizes and contents of files.

    Args:
      paths: The files.
      root: Folder that their names are taken relative to.
    """
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        content = hashlib.sha256()
        size = 0
        with open_file(path) as file:
            while chunk := file.read(_CHUNK):
                content.update(chunk)
                size += len(chunk)
        total.update(f"{path.removeprefix(root)}\0{size}\0{content.hexdigest()}\n".encode())
    return total.hexdigest()


def file_sizes(paths: Sequence[str]) -> dict[str, int]:
    """Bytes of every file as it is stored."""
    found = FileSystems.match(list(paths))
    return {m.path: m.size_in_bytes for result in found for m in result.metadata_list}


def _files_by_day(
    root: str, pattern: str, splits: Splits, path_tells_day: bool
) -> tuple[dict[str, int | None], list[Problem]]:
    found: dict[str, int | None] = {}
    problems = []
    for day, split in splits.days.items():
        filled = pattern
        for part, code in _DAY_PARTS.items():
            filled = filled.replace(part, day.strftime(code))
        paths = _match(root, filled)
        found.update(dict.fromkeys(paths, day.toordinal() if path_tells_day else None))
        if not paths:
            problems.append(
                Problem(
                    FileSystems.join(root, filled),
                    "no such file",
                    f"the log of {day}, a day of data.{split}",
                    "Copy it there, or change the days.",
                )
            )
    return found, problems


def _match(root: str, pattern: str) -> list[str]:
    (result,) = FileSystems.match([FileSystems.join(root, pattern)])
    # On a local disk a folder matches too; an object store has none.
    paths = [metadata.path for metadata in result.metadata_list]
    return sorted(path for path in paths if not os.path.isdir(path))
