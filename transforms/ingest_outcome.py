"""What a finished tally says: the counts, and whether the input was good enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from transforms.days import Splits
from transforms.log_schema import LogSchema, column_problems, merge_problems, name_some
from transforms.problems import Problem
from transforms.row_reader import LogFile
from transforms.tally import Tally

_FEW_CELLS = 20
"""Fewer bad cells say nothing of their column: they are rejected rows like others."""

_COMMONEST = 3


def ingest_counts(
    tally: Tally, files: Sequence[LogFile], schema: LogSchema, splits: Splits
) -> dict[str, Any]:
    """The counts of `counts.json`.

    `read` = `duplicates` + `rejected` + `out_of_range` + the splits. `scenarios`, `unmatched`,
    `outside` (rows that are outside of a task's sample space, by task), `other_scenario_rows` and
    `days` are of the rows in the splits.

    Raises:
      RuntimeError: if rows got lost on the way, as they do on runners that drop outputs.
    """
    read = tally.of("read")
    duplicates = tally.of("duplicates")
    kept = {name: tally.of("split").get(name, 0) for name in splits.names}
    counts: dict[str, Any] = {
        "read": sum(read.values()),
        "duplicates": sum(duplicates.values()),
        "equal_rows": duplicates.get("equal_rows", 0),
        "equal_keys": duplicates.get("equal_keys", 0),
        "rejected": sum(tally.of("rejected").values()),
        "out_of_range": sum(tally.of("out_of_range").values()),
        **kept,
        "reasons": [
            {"reason": reason, "rows": rows, "example": _example(tally, reason, files)}
            for reason, rows in _reasons(tally)
        ],
        "scenarios": tally.of("scenario"),
        "other_scenario_rows": sum(tally.of("other_scenario").values()),
        "outside": {
            task: tally.of("outside").get(task, 0)
            for task, label in schema.labels.items()
            if label.may_be_absent
        },
        "unmatched": {t: tally.of("unmatched").get(t, 0) for t in schema.table_keys},
        "files": [{"path": f.path, "rows": read.get(f.path, 0)} for f in files],
        "days": {str(day): tally.of("day").get(str(day), 0) for day in splits.days},
    }
    parts = ("duplicates", "rejected", "out_of_range", *kept)
    if counts["read"] != sum(counts[part] for part in parts):
        found = ", ".join(f"{part} {counts[part]}" for part in parts)
        raise RuntimeError(f"{counts['read']} rows were read, but accounted for are {found}")
    return counts


def unusable(
    tally: Tally, schema: LogSchema, table_columns: Mapping[str, Collection[str]]
) -> list[Problem]:
    """Files and columns that are at fault as a whole.

    Args:
      tally: What was counted.
      schema: What was needed.
      table_columns: Columns of every joined table, without its key.
    """
    problems = list(tally.problems)
    for path, columns in tally.columns.items():
        if columns:  # a JSON Lines file without a single row has none
            problems += column_problems(schema, path, columns, table_columns)
    return merge_problems(problems + _columns_of_the_wrong_type(tally, schema))


def too_many_rejected(
    tally: Tally, files: Sequence[LogFile], limit: float, remedy: str
) -> list[Problem]:
    """Whether more rows were rejected than may be.

    Args:
      tally: What was counted.
      files: The files.
      limit: Share of the rows read that may be rejected.
      remedy: What to do then.
    """
    read = sum(tally.of("read").values())
    rejected = sum(tally.of("rejected").values())
    if rejected <= limit * read:
        return []
    reasons = [
        f"{rows} because {reason} ({_example(tally, reason, files)})"
        for reason, rows in _reasons(tally)[:_COMMONEST]
    ]
    return [
        Problem(
            "the log",
            f"{rejected} of {read} rows ({rejected / read:.1%}) that cannot be used: "
            + "; ".join(reasons),
            f"at most {limit:.1%} of them, as data.max_rejected_fraction says",
            remedy,
        )
    ]


def days_without_rows(tally: Tally, splits: Splits) -> list[Problem]:
    """Days that are needed but have no usable row."""
    days = tally.of("day")
    others = list(tally.of("out_of_range"))
    remedy = f"Its other rows are of {others[0]} to {others[-1]}." if others else ""
    return [
        Problem(
            f"data.{split}",
            f"no usable row of {day} in the log",
            "rows on every day of the split",
            remedy,
        )
        for day, split in splits.days.items()
        if not days.get(str(day))
    ]


def _columns_of_the_wrong_type(tally: Tally, schema: LogSchema) -> list[Problem]:
    paths: dict[tuple[str, str], list[str]] = {}
    for what, cells in sorted(tally.counts.items()):
        if what[0] == "cells" and cells >= _FEW_CELLS:
            _, path, column, kind = what
            if tally.counts["bad_cells", path, column, kind] == cells:
                paths.setdefault((column, kind), []).append(path)
    problems = []
    for (column, kind), at_fault in paths.items():
        example = tally.examples["bad_cells", at_fault[0], column, kind]
        problems.append(
            Problem(
                name_some(at_fault),
                f"nothing in column `{column}` that is {kind} (in row {example.row}: "
                f"{example.text})",
                f"{kind} in every row, for {', '.join(schema.uses[column])}",
            )
        )
    return problems


def _reasons(tally: Tally) -> list[tuple[str, int]]:
    return sorted(tally.of("rejected").items(), key=lambda item: (-item[1], item[0]))


def _example(tally: Tally, reason: str, files: Sequence[LogFile]) -> str:
    example = tally.examples["rejected", reason]
    return f"{files[example.file].path}, row {example.row}: {example.text}"
