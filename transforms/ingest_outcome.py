"""What a finished tally says: the counts, and whether the input was good enough."""

from __future__ import annotations

import datetime
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
_TEMPORAL = ("timestamp", "date", "time")


def ingest_counts(
    tally: Tally,
    files: Sequence[LogFile],
    outcomes: Sequence[LogFile],
    schema: LogSchema,
    splits: Splits,
) -> dict[str, Any]:
    """The counts of `counts.json`.

    `read` = `duplicates` + `rejected` + `out_of_range` + the splits; of the outcomes, `read` =
    `duplicates` + `rejected` + `unmatched` + `late` + `matched`. `scenarios`, `unmatched`,
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
        "earlier_days": duplicates.get("earlier_days", 0),
        "rejected": sum(tally.of("rejected").values()),
        "out_of_range": sum(tally.of("out_of_range").values()),
        **kept,
        "reasons": _listed(tally, "rejected", files),
        "scenarios": tally.of("scenario"),
        "other_scenario_rows": sum(tally.of("other_scenario").values()),
        "outside": {
            task: tally.of("outside").get(task, 0)
            for task, label in schema.labels.items()
            if label.may_be_absent
        },
        "filled": tally.of("filled"),
        "unmatched": {t: tally.of("unmatched").get(t, 0) for t in schema.table_keys},
        "clock": {kind: tally.of("clock").get(kind, 0) for kind in ("skewed", "other_day")},
        "files": [{"path": f.path, "rows": read.get(f.path, 0)} for f in files],
        "days": {str(day): tally.of("day").get(str(day), 0) for day in splits.days},
        "empty_days": [str(day) for day in empty_days(tally, splits)],
    }
    parts = ("duplicates", "rejected", "out_of_range", *kept)
    if counts["read"] != sum(counts[part] for part in parts):
        found = ", ".join(f"{part} {counts[part]}" for part in parts)
        raise RuntimeError(f"{counts['read']} rows were read, but accounted for are {found}")
    if schema.outcomes is not None:
        counts["outcomes"] = _outcome_counts(tally, [*files, *outcomes])
    return counts


def _outcome_counts(tally: Tally, files: Sequence[LogFile]) -> dict[str, Any]:
    found = tally.of("outcomes")
    parts = ("duplicates", "unmatched", "late", "matched")
    counts: dict[str, Any] = {kind: found.get(kind, 0) for kind in ("read", *parts)}
    counts["rejected"] = sum(tally.of("outcome_rejected").values())
    if counts["read"] != sum(counts[part] for part in (*parts, "rejected")):
        raise RuntimeError(f"outcomes were lost: {counts}")
    delays = {int(days): rows for days, rows in tally.of("outcome_delay").items()}
    counts["matched_by_days_after"] = {str(days): delays[days] for days in sorted(delays)}
    counts["reasons"] = _listed(tally, "outcome_rejected", files)
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
    return merge_problems(
        [
            *missing_columns(tally, schema, table_columns),
            *_columns_of_the_wrong_type(tally, schema),
        ]
    )


def missing_columns(
    tally: Tally, schema: LogSchema, table_columns: Mapping[str, Collection[str]]
) -> list[Problem]:
    """Files that cannot be read, and those without a column that is needed; as `unusable`."""
    problems = list(tally.problems)
    anywhere = frozenset[str]().union(*tally.columns.values())
    for path, columns in tally.columns.items():
        if columns:  # a JSON Lines file without a single row has none
            # What is in no file at all is not gone, but misspelt.
            fill = schema.fill_columns & anywhere
            problems += column_problems(schema, path, columns, table_columns, fill)
    problems += _times_beside_numbers(tally, schema)
    return merge_problems(problems)


def too_many_rejected(
    tally: Tally, files: Sequence[LogFile], limit: float, remedy: str
) -> list[Problem]:
    """Whether more rows were rejected than may be, of the log or of the outcomes.

    Args:
      tally: What was counted.
      files: The files.
      limit: Share of the rows read that may be rejected.
      remedy: What to do then.
    """
    problems = []
    for where, kind, read in (
        ("the log", "rejected", sum(tally.of("read").values())),
        ("the outcomes", "outcome_rejected", tally.of("outcomes").get("read", 0)),
    ):
        rejected = sum(tally.of(kind).values())
        if rejected <= limit * read:
            continue
        reasons = [
            f"{entry['rows']} because {entry['reason']} ({entry['example']})"
            for entry in _listed(tally, kind, files)[:_COMMONEST]
        ]
        problems.append(
            Problem(
                where,
                f"{rejected} of {read} rows ({rejected / read:.1%}) that cannot be used: "
                + "; ".join(reasons),
                f"at most {limit:.1%} of them, as data.max_rejected_fraction says",
                remedy,
            )
        )
    return problems


def empty_days(tally: Tally, splits: Splits) -> list[datetime.date]:
    """Days that are needed but have no usable row."""
    rows = tally.of("day")
    return [day for day in splits.days if not rows.get(str(day))]


def days_without_rows(tally: Tally, splits: Splits, may_be_empty: bool = False) -> list[Problem]:
    """What is wrong with days without a usable row.

    Args:
      tally: What was counted.
      splits: Which days are needed.
      may_be_empty: Whether a day may have none, as long as another of its split has.
    """
    empty = set(empty_days(tally, splits))
    with_rows = {split for day, split in splits.days.items() if day not in empty}
    others = list(tally.of("out_of_range"))
    elsewhere = [f"Its other rows are of {others[0]} to {others[-1]}."] if others else []
    if may_be_empty:
        expected = "rows on a day of the split"
    else:
        expected = "rows on every day of the split"
        elsewhere.append("Where a day has none, as a closed day may, set data.empty_days to warn.")
    return [
        Problem(
            f"data.{split}", f"no usable row of {day} in the log", expected, " ".join(elsewhere)
        )
        for day, split in splits.days.items()
        if day in empty and not (may_be_empty and split in with_rows)
    ]


def _times_beside_numbers(tally: Tally, schema: LogSchema) -> list[Problem]:
    """Columns that are timestamps in some files, and numbers of an unknown unit in others."""
    if schema.clock is not None:
        return []
    problems = []
    for column in schema.number_columns:
        types = {path: found[column] for path, found in tally.columns.items() if found.get(column)}
        times = sorted(p for p, kinds in types.items() if min(kinds).startswith(_TEMPORAL))
        numbers = sorted(types.keys() - times)
        if times and numbers:
            problems.append(
                Problem(
                    name_some(numbers),
                    f"numbers in column `{column}`, which is {min(types[times[0]])} in {times[0]}",
                    "numbers of a known unit beside timestamps",
                    "Set data.clock.unit to it; timestamps are then counted in it.",
                )
            )
    return problems


def _columns_of_the_wrong_type(tally: Tally, schema: LogSchema) -> list[Problem]:
    paths: dict[tuple[str, str], list[str]] = {}
    for what, cells in sorted(tally.counts.items()):
        if what[0] == "cells" and cells >= _FEW_CELLS:
            _, path, column, kind = what
            if schema.fill_cells and column in schema.only_features:
                continue
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
                f"{kind} in every row, for "
                f"{', '.join(schema.uses.get(column, ('data.outcomes',)))}",
            )
        )
    return problems


def _listed(tally: Tally, kind: str, files: Sequence[LogFile]) -> list[dict[str, Any]]:
    """Reasons of rejections with their rows and an example, the commonest first."""
    reasons = sorted(tally.of(kind).items(), key=lambda item: (-item[1], item[0]))
    listed = []
    for reason, rows in reasons:
        example = tally.examples[kind, reason]
        shown = f"{files[example.file].path}, row {example.row}: {example.text}"
        listed.append({"reason": reason, "rows": rows, "example": shown})
    return listed
