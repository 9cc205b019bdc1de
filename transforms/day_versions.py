"""What was read of each day, run by run: a day whose rows change gets a new version.

A folder with a file a day, `2024-01-05.json`. A day is recognised by the content of the rows that
were used and their labels, in whatever files and order they come: the sum of their hashes.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from transforms.storage import read_file, renamed_into_place, write_file


@dataclass(frozen=True)
class DayVersion:
    """A day as it was read.

    Args:
      content: Its fingerprint: equal for equal rows and labels.
      rows: Rows that were used.
      labels: Sums of their labels, by task.
      columns: Columns of its files, with their types.
      open: Whether its attribution window was not closed.
    """

    content: str
    rows: int
    labels: Mapping[str, float]
    columns: Mapping[str, Sequence[str]]
    open: bool


def read_versions(folder: str, day: datetime.date) -> list[DayVersion]:
    """The versions of a day, oldest first."""
    path = _path(folder, day)
    if not tf.io.gfile.exists(path):
        return []
    return [DayVersion(**entry) for entry in json.loads(read_file(path))]


def record_day(folder: str, day: datetime.date, found: DayVersion) -> list[DayVersion]:
    """Adds a version, if the day is not as it was.

    Returns:
      The versions with it, oldest first.
    """
    versions = read_versions(folder, day)
    if versions and versions[-1].content == found.content:
        # The same rows: what is known of them may be more by now.
        versions[-1] = found
    else:
        versions.append(found)
    with renamed_into_place(_path(folder, day), os.path.join(folder, ".drafts")) as draft:
        text = json.dumps([dataclasses.asdict(version) for version in versions], indent=1)
        write_file(draft, text.encode())
    return versions


def last_columns(folder: str, before: datetime.date) -> Mapping[str, Sequence[str]] | None:
    """Columns of the last day before another that had any; None where there is none."""
    days = [
        os.path.basename(path).removesuffix(".json")
        for path in tf.io.gfile.glob(os.path.join(folder, "*.json"))
    ]
    for day in sorted((day for day in days if day < before.isoformat()), reverse=True):
        columns = read_versions(folder, datetime.date.fromisoformat(day))[-1].columns
        if columns:
            return columns
    return None


def _path(folder: str, day: datetime.date) -> str:
    return os.path.join(folder, f"{day.isoformat()}.json")
