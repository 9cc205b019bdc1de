"""Which files a job reads, and a fingerprint of them."""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import os
from collections.abc import Iterable
from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.days import Splits
from transforms.problems import InputError, Problem
from transforms.readers import file_format
from transforms.row_reader import LogFile

DAY_PARTS = {"{YYYY}": "%Y", "{MM}": "%m", "{DD}": "%d"}
"""What stands for the day in a pattern, with its strftime code."""

_CHUNK = 8 << 20
_HIDDEN = ("_", ".")


def open_file(path: str) -> BinaryIO:
    """Opens a file on any of Beam's file systems, as it is stored."""
    return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


def is_there(path: str) -> bool:
    """Whether a file is there."""
    # By listing: for a single object Beam asks again and again, some ten seconds, if it is not.
    (result,) = FileSystems.match([path + "*"])
    return any(metadata.path == path for metadata in result.metadata_list)


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
    root: str,
    pattern: str,
    format: str,
    splits: Splits,
    day_column: str | None,
    may_be_empty: bool = False,
) -> tuple[list[LogFile], list[Problem]]:
    """Files of the log that hold days that are needed.

    Args:
      root: Folder of the log.
      pattern: Glob below it; `{YYYY}`, `{MM}` and `{DD}` stand for the day.
      format: Their format, or `auto`.
      splits: Which days are needed.
      day_column: Column of the day. None where the path tells it.
      may_be_empty: Whether a day may have none, as long as another of its split has.

    Returns:
      The files, by name; and a problem for every day that lacks one, for names that do not tell
      the format, and if nothing tells a row's day.
    """
    parts = [part for part in DAY_PARTS if part in pattern]
    if day_column is None and len(parts) < len(DAY_PARTS):
        problem = Problem(
            "data.day.column",
            f"nothing, and data.logs is {pattern!r}",
            "a row's day, from a column or from {YYYY}, {MM} and {DD} in data.logs",
        )
        return [], [problem]
    days: dict[str, int | None]
    if parts:
        days, problems = _files_by_day(root, pattern, splits, day_column is None, may_be_empty)
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


def find_outcome_files(
    root: str,
    pattern: str,
    marker: str | None,
    format: str,
    splits: Splits,
    days_after: int,
    first_index: int,
) -> tuple[list[LogFile], dict[datetime.date, str]]:
    """Files of the outcomes log that arrive within the attribution windows of the days.

    Args:
      root: Folder of the logs.
      pattern: Glob below it, with `{YYYY}`, `{MM}` and `{DD}`.
      marker: Path below it of a file that says that a day is whole; a day without is not there.
      format: Their format, or `auto`.
      splits: Days of the impressions.
      days_after: Days after an impression's on which its outcomes may still arrive.
      first_index: Index of the first of them.

    Returns:
      The files, by name; and what is missing of every day that is not there, by day.

    Raises:
      InputError: if a name does not tell the format.
    """
    days = {day + datetime.timedelta(days=i) for day in splits.days for i in range(days_after + 1)}
    found: dict[str, int] = {}
    absent: dict[datetime.date, str] = {}
    for day in sorted(days):
        filled = name_day(pattern, day)
        paths = _match(root, filled)
        mark = None if marker is None else FileSystems.join(root, name_day(marker, day))
        if not paths:
            absent[day] = FileSystems.join(root, filled)
        elif mark is not None and not is_there(mark):
            absent[day] = mark
        else:
            found.update(dict.fromkeys(paths, day.toordinal()))
    files = [
        LogFile(first_index + i, path, file_format(path, format), found[path])
        for i, path in enumerate(sorted(found))
    ]
    return files, absent


def name_day(pattern: str, day: datetime.date) -> str:
    """A pattern with the day in it."""
    for part, code in DAY_PARTS.items():
        pattern = pattern.replace(part, day.strftime(code))
    return pattern


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


def _files_by_day(
    root: str, pattern: str, splits: Splits, path_tells_day: bool, may_be_empty: bool
) -> tuple[dict[str, int | None], list[Problem]]:
    found: dict[str, int | None] = {}
    with_files = set()
    absent = []
    for day, split in splits.days.items():
        filled = FileSystems.join(root, name_day(pattern, day))
        paths = _match(root, name_day(pattern, day))
        found.update(dict.fromkeys(paths, day.toordinal() if path_tells_day else None))
        if paths:
            with_files.add(split)
        else:
            absent.append((filled, day, split))
    remedy = "Copy it there, or change the days."
    if not may_be_empty:
        remedy += " Where a day has none, as a closed day may, set data.empty_days to warn."
    problems = [
        Problem(path, "no such file", f"the log of {day}, a day of data.{split}", remedy)
        for path, day, split in absent
        if not may_be_empty or split not in with_files
    ]
    return found, problems


def _match(root: str, pattern: str) -> list[str]:
    (result,) = FileSystems.match([FileSystems.join(root, pattern)])
    paths = [metadata.path for metadata in result.metadata_list]
    asked_for = [part for part in pattern.split("/") if part.startswith(_HIDDEN)]
    # On a local disk a folder matches too; an object store has none.
    return sorted(
        path
        for path in paths
        if not os.path.isdir(path)
        and not any(_is_hidden(name, asked_for) for name in path.removeprefix(root).split("/"))
    )


def _is_hidden(name: str, asked_for: Iterable[str]) -> bool:
    """Whether a file or folder is a mark, a checksum or a draft, as Hadoop and Spark name them.

    Like Spark, this takes `_hour=05` for a partition, which holds data.
    """
    if not name.startswith(_HIDDEN) or (name.startswith("_") and "=" in name):
        return False
    return not any(fnmatch.fnmatchcase(name, part) for part in asked_for)
