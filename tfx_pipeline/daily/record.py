"""What the run of a day leaves to those of later days."""

from __future__ import annotations

import datetime
import os

from pydantic import BaseModel, ConfigDict, ValidationError
from tfx.v1.dsl.io import fileio

from tfx_pipeline.config.data import DayRange
from transforms.problems import InputError, Problem

RECORD = "record.json"
_FORMAT = 1


class DayRecord(BaseModel):
    """A day that was trained on.

    Args:
      day: The day.
      key: Names the run by all that it depends on, the parent's key among it.
      full: Whether it began a lineage: a whole window, from cold weights.
      train: Days that were trained on before the last.
      evaluated: The day that it was evaluated on.
      blessed: What the gate said.
      version: The version that was pushed, None where none was.
      parent: Key of the day whose weights it went on from; None of a cold start.
      model: Folder of the Model artifact.
      trained: What the training ended with, a checkpoint.
      feature_state: Folder of the state as of the end of the day.
      transform_graph: Folder of the graph.
      statistics: Folder of the statistics of the days that the graph was fitted on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = _FORMAT
    day: datetime.date
    key: str
    full: bool
    train: DayRange
    evaluated: datetime.date
    blessed: bool
    version: int | None
    parent: str | None
    model: str
    trained: str
    feature_state: str
    transform_graph: str
    statistics: str


def day_folder(daily_dir: str, day: datetime.date) -> str:
    """Where the record and the summary of a day are kept."""
    return os.path.join(daily_dir, str(day))


def write_record(daily_dir: str, record: DayRecord) -> None:
    """Writes the record of a day, beside its place and then into it."""
    folder = day_folder(daily_dir, record.day)
    fileio.makedirs(folder)
    draft = os.path.join(folder, f".{RECORD}.{os.getpid()}")
    with fileio.open(draft, "w") as f:
        f.write(record.model_dump_json(indent=2) + "\n")
    fileio.rename(draft, os.path.join(folder, RECORD), overwrite=True)


def read_records(daily_dir: str) -> dict[datetime.date, DayRecord]:
    """The records of all days that were run, in order.

    Args:
      daily_dir: Where they are kept; there may be none.

    Raises:
      InputError: naming each one that cannot be read.
    """
    found, problems = {}, []
    for path in sorted(fileio.glob(os.path.join(daily_dir, "*", RECORD))):
        with fileio.open(path) as f:
            text = f.read()
        try:
            record = DayRecord.model_validate_json(text)
        except ValidationError as error:
            what = str(error.errors(include_url=False)[0]["msg"])
            problems.append(
                Problem(path, what, "the record of a day", "Remove it, and run the day again.")
            )
        else:
            found[record.day] = record
    if problems:
        raise InputError(problems)
    return found
