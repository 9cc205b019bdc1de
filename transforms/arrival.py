"""Whether files have arrived whole: marks beside them, and times of their last change."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence

from apache_beam.io.filesystems import FileSystems

from transforms.days import Splits
from transforms.log_files import DAY_PARTS, is_there, name_day
from transforms.log_schema import merge_problems
from transforms.problems import InputError, Problem

FileMarks = Mapping[str, tuple[int, float]]
"""Size and time of the last change of every file."""


def missing_markers(root: str, pattern: str, splits: Splits, key: str) -> list[Problem]:
    """Days whose mark is not there yet.

    Args:
      root: Folder of the log.
      pattern: Path of the mark below it; `{YYYY}`, `{MM}` and `{DD}` stand for the day.
      splits: Which days are needed.
      key: The config key that the pattern comes from.
    """
    wanted = {name_day(pattern, day): f"the log of {day}" for day in splits.days}
    if not any(part in pattern for part in DAY_PARTS):
        wanted = {pattern: "the log"}
    problems = []
    for name, what in wanted.items():
        path = FileSystems.join(root, name)
        if not is_there(path):
            problems.append(
                Problem(
                    path,
                    "no such file",
                    f"the mark that {what} is whole, as {key} says",
                    "Wait until it is written, or move the days back.",
                )
            )
    return problems


def file_marks(paths: Sequence[str]) -> FileMarks:
    """Looks at files, without reading them; those that are gone are left out."""
    found = {}
    for path in paths:
        # Not by `match`, which takes a `[` in a name for the beginning of a pattern.
        files = FileSystems.get_filesystem(path)
        if files.exists(path):
            of_file = files.metadata(path)
            found[path] = (of_file.size_in_bytes, of_file.last_updated_in_seconds or 0.0)
    return found


def unsettled(paths: Sequence[str], settle: datetime.timedelta) -> list[Problem]:
    """Files that changed so lately that they may still be written.

    Args:
      paths: The files.
      settle: For how long a whole file has not changed.
    """
    now = time.time()
    problems = []
    for path, (_, changed) in file_marks(paths).items():
        if now - changed < settle.total_seconds():
            at = datetime.datetime.fromtimestamp(changed, datetime.timezone.utc)
            problems.append(
                Problem(
                    path,
                    f"a change at {at:%Y-%m-%d %H:%M:%S} UTC",
                    f"none for {settle}, as data.settle says: it may still be written",
                    "Wait, or set data.settle to less.",
                )
            )
    return problems


def check_unchanged(before: FileMarks) -> None:
    """Makes sure that files are as they were.

    Args:
      before: `file_marks` of them, before they were read.

    Raises:
      InputError: naming those that changed, or went.
    """
    after = file_marks(list(before))
    changed = [path for path, mark in before.items() if after.get(path) != mark]
    if changed:
        raise InputError(
            merge_problems(
                Problem(
                    path,
                    "a change while it was read",
                    "a log that is whole before it is read",
                    "Run again when it is; data.settle and data.success_marker wait for that.",
                )
                for path in changed
            )
        )
