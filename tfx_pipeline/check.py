"""Reads a sample of the data before anything runs, and says all that is wrong with it."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_pipeline.config import OTHER, Config, read_config
from tfx_pipeline.frozen_graph import frozen_graph_problems
from tfx_pipeline.inputs import (
    Inputs,
    before_any_pipeline,
    columns_in_use,
    find_inputs,
    splits,
)
from tfx_pipeline.runners.beam_problems import beam_problems
from tfx_pipeline.start_state import start_state_problems
from tfx_pipeline.start_weights import start_weights_problems
from tfx_pipeline.tf_config import tf_config_problems
from transforms.arrival import file_marks
from transforms.enrich import KEY, SideTable, load_side_table, number_column, text_column
from transforms.ingest_outcome import (
    days_without_rows,
    empty_days,
    missing_columns,
    too_many_rejected,
    unusable,
)
from transforms.log_files import open_file
from transforms.log_rows import label_column, prepare_rows, unmatched_column
from transforms.log_schema import LogSchema, column_problems, merge_problems, name_some
from transforms.outcome_rows import prepare_outcomes
from transforms.problems import InputError, Problem
from transforms.raw_rows import RawRows
from transforms.readers import parse_block, read_blocks, read_head
from transforms.row_reader import LogFile
from transforms.tally import Tally

_ROWS_PER_FILE = 25_000
_MOST_FILES = 40
_BLOCK_BYTES = 1 << 20
_MOST_SHOWN = 20
_INTEGER = r"^-?\d+$"
_DECIMAL = r"^-?\d+\.\d+$"


@dataclass(frozen=True)
class CheckResult:
    """What a sample of the data says about a config.

    Args:
      problems: What would stop a run.
      warnings: What would not, but is seldom meant.
      summary: Lines about the files, the columns, the scenarios and the labels.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    summary: tuple[str, ...]


def check_file(path: str | Path, overrides: list[str] | None = None) -> CheckResult:
    """Checks a config file, and what it says of its data.

    Where the file itself is wrong, columns are still looked for, unless that is about `data`.

    Args:
      path: As of `load_config`.
      overrides: Likewise.

    Raises:
      InputError: if it is no YAML file, or extends none.
    """
    read = read_config(path, overrides)
    if not read.problems and read.config is not None:
        return check(read.config)
    of_data = any(problem.where.split(".")[0] == "data" for problem in read.problems)
    columns = () if read.config is None or of_data else check_columns(read.config)
    return CheckResult((*read.problems, *columns), (), ())


def check(config: Config) -> CheckResult:
    """Checks a config against the first rows of its files.

    Args:
      config: The config.

    Returns:
      All that was found, not just the first mistake.
    """
    schema = columns_in_use(config)
    contradictions = schema.problems()
    if contradictions:
        return CheckResult((*contradictions, *check_columns(config)), (), ())
    before_any_pipeline()
    found = find_inputs(config)
    problems = [
        *found.problems,
        *frozen_graph_problems(config),
        *start_state_problems(config),
        *start_weights_problems(config),
        *beam_problems(config),
        *tf_config_problems(config, first=True),
    ]
    tables, unusable_tables = _load_tables(config, schema, found)
    problems += unusable_tables
    if len(tables) < len(schema.table_keys):
        # Without a table no label can be computed; what the log itself must hold is known.
        problems += _missing_in_log(schema, found.files, tables)
        return CheckResult(tuple(problems), (), ())
    tally = Tally()
    _count_outcomes(schema, found.outcomes, tally)
    empty = _without_bytes(found.paths)
    sample = _read_sample(config, schema, found.files, empty, tally, tables)
    columns = {name: table.columns for name, table in tables.items()}
    at_fault = unusable(sample.tally, schema, columns)
    problems += at_fault
    if not at_fault:
        remedy = "" if sample.whole else "This is the share in a sample."
        limit = config.data.max_rejected_fraction
        problems += too_many_rejected(sample.tally, [*found.files, *found.outcomes], limit, remedy)
        if sample.whole and found.files and not found.problems:
            may_be_empty = config.data.empty_days == "warn"
            problems += days_without_rows(sample.tally, splits(config), may_be_empty)
    warnings = merge_problems(
        Problem(path, "not a single byte", "rows; it is read as a part without any")
        for path in empty
    )
    if config.data.empty_days == "warn":
        warnings += _empty_days(config, found, sample)
    if sample.rows is not None:
        warnings += _warnings(config, schema, sample.rows, sample.tally)
        warnings += _decimal_ids(schema, sample.rows, tables)
    summary = _summary(config, schema, found, sample)
    return CheckResult(tuple(problems), tuple(warnings), tuple(summary))


def check_columns(config: Config) -> tuple[Problem, ...]:
    """Looks for the files and the columns alone, of a config in which something else is wrong.

    Args:
      config: What is right in it.
    """
    before_any_pipeline()
    schema, found = columns_in_use(config), find_inputs(config)
    tables, problems = _load_tables(config, schema, found)
    problems = [*found.problems, *problems]
    if len(tables) < len(schema.table_keys):
        return (*problems, *_missing_in_log(schema, found.files, tables))
    empty = _without_bytes(found.paths)
    tally = _read_sample(config, schema, found.files, empty, Tally(), tables).tally
    columns = {name: table.columns for name, table in tables.items()}
    return (*problems, *missing_columns(tally, schema, columns))


def _load_tables(
    config: Config, schema: LogSchema, found: Inputs
) -> tuple[dict[str, SideTable], list[Problem]]:
    """The joined tables that can be used, and what is wrong with the others."""
    tables: dict[str, SideTable] = {}
    problems: list[Problem] = []
    for name, paths in found.tables.items():
        try:
            if paths:
                tables[name] = load_side_table(schema, name, paths, config.data.format, open_file)
        except InputError as error:
            problems += error.problems
    return tables, problems


@dataclass(frozen=True)
class _Sample:
    """First rows of the log.

    Args:
      rows: Those that can be used. None if there are none.
      tally: Counts of all.
      files: How many files they are from.
      headers_only: Files of which only the columns were looked at.
      cut: Files of which only the first rows were read.
    """

    rows: pa.Table | None
    tally: Tally
    files: int
    headers_only: tuple[str, ...]
    cut: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether they are all rows there are."""
        return not self.headers_only and not self.cut


def _count_outcomes(schema: LogSchema, files: Sequence[LogFile], tally: Tally) -> None:
    """Counts the first outcomes of every day, and what makes any file of them unusable."""
    if schema.outcomes is None:
        return
    chosen = _spread(_one_a_day(files), _MOST_FILES)
    for file in files:
        raws = _first_rows(file, tally)[0] if file in chosen else [_columns_only(file, tally)]
        for raw in raws:
            tally.add(prepare_outcomes(raw, file, schema.outcomes)[2])


def _read_sample(
    config: Config,
    schema: LogSchema,
    files: Sequence[LogFile],
    empty: Collection[str],
    tally: Tally,
    tables: Mapping[str, SideTable],
) -> _Sample:
    with_bytes = [file for file in files if file.path not in empty]
    chosen = _spread(_one_a_day(with_bytes), _MOST_FILES)
    parts = []
    cut = []
    for file in chosen:
        raws, ended = _first_rows(file, tally)
        if not ended:
            cut.append(file.path)
        for raw in raws:
            done = prepare_rows(raw, file, schema, splits(config), tables)
            tally.add(done.tally)
            if done.rows is not None and done.rows.num_rows:
                parts.append(done.rows)
    rows = pa.concat_tables(parts) if parts else None
    if rows is not None:
        for entry in rows.column("day").value_counts().to_pylist():
            day = datetime.date.fromordinal(entry["values"]).isoformat()
            tally.count("day", day, rows=entry["counts"])
    for file in files:
        if file not in chosen:
            raw = _columns_only(file, tally)
            tally.add(prepare_rows(raw, file, schema, splits(config), tables).tally)
    headers_only = tuple(file.path for file in with_bytes if file not in chosen)
    return _Sample(rows, tally, len(chosen), headers_only, tuple(cut))


def _first_rows(file: LogFile, tally: Tally) -> tuple[list[RawRows], bool]:
    """The first rows of a file, and whether there are no more; its damage goes into the tally."""
    raws: list[RawRows] = []
    left = _ROWS_PER_FILE
    try:
        with open_file(file.path) as stream:
            for block in read_blocks(stream, file.path, file.format, _BLOCK_BYTES):
                if left <= 0:
                    return raws, False
                raw = parse_block(block, open_file)
                raws.append(_head(raw, left))
                left -= raw.table.num_rows
        return raws, left >= 0
    except InputError as error:
        tally.problems.update(error.problems)
    return raws, True


def _without_bytes(paths: Sequence[str]) -> list[str]:
    return sorted(path for path, (size, _) in file_marks(paths).items() if not size)


def _columns_only(file: LogFile, tally: Tally) -> RawRows:
    """No rows, with the columns of a file where its head tells them; damage goes into the tally."""
    none = RawRows(pa.table({}), np.array([], np.int64))
    try:
        with open_file(file.path) as stream:
            raw = read_head(stream, file.path, file.format)
    except InputError as error:
        tally.problems.update(error.problems)
        return none
    if file.format != "jsonl":
        return RawRows(raw.table.slice(0, 0), none.numbers)
    if raw.broken and not raw.table.num_rows:
        first = raw.broken[0]
        found = f"no row in its first {len(raw.broken)} lines; of line {first.row}, {first.reason}"
        tally.problems.add(Problem(file.path, found, "a JSON object a line"))
    return none  # later lines may hold what the first ones leave out


def _head(raw: RawRows, rows: int) -> RawRows:
    if raw.table.num_rows <= rows:
        return raw
    numbers = raw.numbers[:rows]
    broken = tuple(row for row in raw.broken if row.row <= numbers[-1])
    nested = {column: mask[:rows] for column, mask in raw.nested.items()}
    return RawRows(raw.table.slice(0, rows), numbers, broken, nested)


def _missing_in_log(
    schema: LogSchema, files: Sequence[LogFile], tables: Mapping[str, SideTable]
) -> list[Problem]:
    tally = Tally()
    problems = []
    for file in _spread(_one_a_day(files), _MOST_FILES):
        raws, _ = _first_rows(file, tally)
        columns = {column for raw in raws for column in raw.table.column_names}
        known = {name: table.columns for name, table in tables.items()}
        elsewhere = columns.union(schema.log_only, *known.values())
        known["that cannot be read"] = tuple(schema.uses.keys() - elsewhere)
        problems += column_problems(schema, file.path, columns, known)
    return merge_problems([*tally.problems, *problems])


def _one_a_day(files: Sequence[LogFile]) -> list[LogFile]:
    """The first file of every day, where the paths tell the day."""
    days: dict[object, LogFile] = {}
    for file in files:
        days.setdefault(file.path if file.day is None else file.day, file)
    return list(days.values())


def _spread(files: Sequence[LogFile], most: int) -> list[LogFile]:
    """At most so many files, evenly among all, the first and the last with them."""
    if len(files) <= most:
        return list(files)
    return [files[round(i * (len(files) - 1) / (most - 1))] for i in range(most)]


def _warnings(config: Config, schema: LogSchema, rows: pa.Table, tally: Tally) -> list[Problem]:
    found = []
    present = set(rows.column(text_column(schema.scenario)).unique().to_pylist())
    absent = [value for value in config.scenario.values if value not in present]
    if absent:
        found.append(
            Problem(
                "scenario.values",
                f"{', '.join(absent)}, which no row of the sample has in `{schema.scenario}`",
                "scenarios that occur",
                f"There are: {', '.join(sorted(present)[:_MOST_SHOWN])}.",
            )
        )
    for task in schema.row_labels:
        labels = rows.column(label_column(task)).drop_null().unique().to_pylist()
        if len(labels) == 1 and schema.labels[task].expression.is_condition:
            found.append(
                Problem(
                    f"tasks.{task}.label",
                    f"{'positives' if labels[0] else 'negatives'} only in the sample",
                    "rows of both kinds",
                )
            )
        elif len(labels) < 2:
            only = f"{labels[0]:g} in all rows of the sample" if labels else "no label"
            found.append(Problem(f"tasks.{task}.label", only, "labels that differ"))
    targets = {c: (text_column(c), "features.categorical") for c in schema.categorical}
    targets |= {c: (number_column(c), "features.numeric") for c in schema.numeric}
    for column, (target, key) in targets.items():
        if rows.column(target).null_count == rows.num_rows:
            found.append(
                Problem(key, f"no value of `{column}` in the sample", "a feature that varies")
            )
    for table in schema.table_keys:
        unmatched = pc.sum(rows.column(unmatched_column(table))).as_py()
        share = unmatched / rows.num_rows
        if unmatched:
            found.append(
                Problem(
                    f"data.tables.{table}",
                    f"no key for {unmatched} of {rows.num_rows} rows ({share:.1%})",
                    "a key for every row; the features of the others are missing",
                )
            )
    rejected = tally.of("rejected")
    if rejected:
        commonest = max(rejected, key=lambda reason: rejected[reason])
        found.append(
            Problem(
                "the log",
                f"{sum(rejected.values())} rows that cannot be used, most because {commonest}",
                "none, though a run puts up with so many",
            )
        )
    return found


def _empty_days(config: Config, found: Inputs, sample: _Sample) -> list[Problem]:
    """Days without rows, as far as the sample or the files' names tell."""
    days = splits(config)
    if sample.whole:
        empty = empty_days(sample.tally, days)
    elif config.data.day.column is None:
        with_files = {file.day for file in found.files}
        empty = [day for day in days.days if day.toordinal() not in with_files]
    else:
        empty = []
    if not empty:
        return []
    listed = ", ".join(map(str, empty))
    return [Problem("the log", f"no row of {listed}", "rows; data.empty_days allows for none")]


def _decimal_ids(
    schema: LogSchema, rows: pa.Table, tables: Mapping[str, SideTable]
) -> list[Problem]:
    """Columns of whole numbers that are `5.0` in some places and `5` in others."""
    places = {
        (f"`{column}`", uses[0]): rows.column(text_column(column)).unique()
        for column, uses in schema.text_columns.items()
        if text_column(column) in rows.column_names
    }
    for name, table in tables.items():
        key = schema.table_keys[name]
        here = f"`{key}` of the log and the table", f"data.tables.{name}.key"
        in_log = places.get((f"`{key}`", schema.text_columns[key][0]), pa.array([], pa.string()))
        places[here] = pa.concat_arrays([in_log, *table.rows.column(KEY).chunks])
    found = []
    for (what, where), values in places.items():
        decimals = values.filter(pc.match_substring_regex(values, _DECIMAL)).drop_null()
        whole = decimals.filter(pc.match_substring_regex(decimals, r"\.0+$"))
        has_integers = pc.any(pc.match_substring_regex(values, _INTEGER)).as_py()
        if has_integers and len(whole) and len(whole) == len(decimals):
            text = whole[0].as_py()
            found.append(
                Problem(
                    where,
                    f"`{text}` and the like beside integers in {what}",
                    f"whole numbers written in one way: as text, `{text}` and "
                    f"`{text.partition('.')[0]}` are two keys, and nothing joins them",
                    "Write the column as integers, or as Parquet; pandas adds `.0` where a column "
                    "has gaps.",
                )
            )
    return found


def _summary(config: Config, schema: LogSchema, found: Inputs, sample: _Sample) -> list[str]:
    read = sum(sample.tally.of("read").values())
    amount = "all there are" if sample.whole else f"a sample of {sample.files} files"
    table_files = sum(map(len, found.tables.values()))
    lines = [
        f"files: {len(found.files)} of the log, {table_files} of joined tables; "
        f"rows read: {read:,}, {amount}",
        f"columns: {len(schema.uses)}, with {len(schema.categorical)} categorical and "
        f"{len(schema.numeric)} numeric features; "
        f"statistics of past days: {len(schema.statistics)}",
    ]
    if sample.headers_only:
        paths = name_some(sample.headers_only)
        lines.append(f"not read but for their columns, {len(sample.headers_only)} files: {paths}")
    if sample.cut:
        cut = name_some(sample.cut)
        lines.append(f"not read after {_ROWS_PER_FILE:,} rows, {len(sample.cut)} files: {cut}")
    if sample.rows is None:
        return lines
    counts = sample.rows.column(text_column(schema.scenario)).value_counts().to_pylist()
    shares = {entry["values"]: entry["counts"] / sample.rows.num_rows for entry in counts}
    listed = [(value, shares.pop(value, 0.0)) for value in config.scenario.values]
    listed.append((f"{OTHER} ({len(shares)} values)", sum(shares.values())))
    lines.append("scenarios: " + ", ".join(f"{name} {share:.1%}" for name, share in listed))
    return [*lines, *_label_lines(schema, sample.rows)]


def _label_lines(schema: LogSchema, rows: pa.Table) -> list[str]:
    """Rates of positives, means of labels that are numbers, rows without a label."""
    rates, means, without = [], [], []
    for task, label in schema.row_labels.items():
        column = rows.column(label_column(task))
        mean = pc.mean(column).as_py()
        if mean is not None and label.expression.is_condition:
            rates.append(f"{task} {mean:.2%}")
        elif mean is not None:
            extremes = pc.min_max(column).as_py()
            means.append(f"{task} {mean:.4g} ({extremes['min']:.4g} to {extremes['max']:.4g})")
        if label.may_be_absent:
            without.append(f"{task} {column.null_count / rows.num_rows:.2%}")
    kinds = {"positives": rates, "mean labels": means, "rows outside of the task's space": without}
    return [f"{kind}: {', '.join(found)}" for kind, found in kinds.items() if found]
