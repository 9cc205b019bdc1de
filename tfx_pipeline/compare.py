"""Several runs on the same evaluation rows: what each cell has, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from tfx_pipeline.config import OTHER, Config
from tfx_pipeline.evaluation import LOSS_KINDS, POOL, Cell
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.estimate import Estimate, estimates
from tfx_pipeline.gate.judge_model import read_evaluation_rows
from tfx_pipeline.gate.measure import changes, rows_of
from tfx_pipeline.recorded_run import newest_judged
from tfx_pipeline.scoring import EvaluationRows, score
from transforms.examples import REQUEST
from transforms.problems import InputError, Problem


@dataclass(frozen=True)
class Difference:
    """How much more one run has than the first.

    Args:
      value: The difference.
      low: Lower end of its 95% interval.
      high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves no doubt which is more."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Figure:
    """One metric of one cell, of every run.

    Args:
      task: The cell's.
      scenario: The cell's, `*` for the pool.
      metric: Its name.
      values: Of each run; None where it is undefined.
      differences: To the first run, of each other run; None where noise cannot be told.
    """

    task: str
    scenario: str
    metric: str
    values: list[float | None]
    differences: list[Difference | None]

    @property
    def more_is_better(self) -> bool:
        """Of a loss less is."""
        return self.metric not in LOSS_KINDS.values()


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Args:
      runs: Their names.
      figures: AUC and GAUC, or the loss of tasks that have neither, by cell.
      rows: Evaluation rows.
      users: Users they are of.
      left_out: Tasks and scenarios that not all runs have.
    """

    runs: list[str]
    figures: list[Figure]
    rows: int
    users: int
    left_out: list[str]

    def of(self, metric: str) -> list[Figure]:
        """The figures of one metric."""
        return [figure for figure in self.figures if figure.metric == metric]

    @property
    def metrics(self) -> list[str]:
        """Those that there are figures of."""
        return list(dict.fromkeys(figure.metric for figure in self.figures))


@dataclass(frozen=True)
class Run:
    """One run's newest model, on its evaluation rows.

    Args:
      name: For people.
      config: The run's.
      rows: The evaluation rows.
      outputs: Its scores by task, float32 [R], of multiclass tasks [R, C].
    """

    name: str
    config: Config
    rows: EvaluationRows
    outputs: dict[str, np.ndarray]

    @property
    def users(self) -> np.ndarray:
        """Of each row, bytes [R]."""
        return self.rows.columns[self.config.data.user]


def compare(workdirs: Sequence[Path]) -> Comparison:
    """Compares the newest trained models of several workdirs, blessed or not.

    Each scores its own run's evaluation examples, which hold the features that it was trained with;
    the rows behind them must be the same.

    Args:
      workdirs: Two at least; the others are compared with the first.

    Raises:
      InputError: if one holds no such run, or the rows differ.
    """
    # One name may stand for several workdirs, as it does for old and new ones of a job.
    short = [workdir.resolve().name for workdir in workdirs]
    names = short if len({*short}) == len(short) else [str(workdir) for workdir in workdirs]
    return compare_runs([load(path, name) for path, name in zip(workdirs, names, strict=True)])


def load(workdir: Path, name: str) -> Run:
    """Scores a run's evaluation rows with its model."""
    run = newest_judged(workdir)
    rows = read_evaluation_rows(run.config, run.evaluation_rows)
    return Run(name, run.config, rows, score(tf.saved_model.load(run.model), rows.examples))


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compares runs that are loaded; see `compare`."""
    first = runs[0].config
    tasks = [t for t in first.tasks if all(_same_task(first, run.config, t) for run in runs)]
    listed = [set(run.config.scenario.values) for run in runs]
    scenarios = [name for name in first.scenario.values if all(name in names for names in listed)]
    if all(names == listed[0] for names in listed):
        # Else it holds other rows in each.
        scenarios.append(OTHER)
    if not tasks:
        raise InputError(
            [
                Problem(
                    "the runs' tasks",
                    "; ".join(f"{', '.join(run.config.tasks)} in {run.name}" for run in runs),
                    "a task that all of them have, of the same kind",
                )
            ]
        )
    check_same_rows(runs, tasks, scenarios)
    bootstraps = [UserBootstrap(run.users, first.gate.draws) for run in runs]
    figures = []
    for task in tasks:
        for scenario in [POOL, *scenarios]:
            cell = Cell(task, scenario, 0, 0, first.tasks[task].kind)
            found = [_measure(run, b, cell) for run, b in zip(runs, bootstraps, strict=True)]
            shown = ("auc", "gauc") if cell.kind not in LOSS_KINDS else (LOSS_KINDS[cell.kind],)
            figures += [_figure(cell, metric, found) for metric in shown if found[0]]
    seen = {*tasks, *scenarios, OTHER}
    named = [n for run in runs for n in [*run.config.tasks, *run.config.scenario.values]]
    return Comparison(
        runs=[run.name for run in runs],
        figures=figures,
        rows=len(runs[0].rows.examples),
        users=len(set(runs[0].users.tolist())),
        left_out=[name for name in dict.fromkeys(named) if name not in seen],
    )


def check_same_rows(runs: Sequence[Run], tasks: Sequence[str], scenarios: Sequence[str]) -> None:
    """Compares the users, their rows, and their labels, by task and scenario.

    Raises:
      InputError: naming the first cell that differs, and a user of it.
    """
    for other in runs[1:]:
        for task in tasks:
            for scenario in [POOL, *scenarios]:
                mine, its = (_by_user(run, task, scenario) for run in (runs[0], other))
                both = mine.join(its, how="outer", lsuffix="_a", rsuffix="_b").fillna(0)
                differ = (both.rows_a != both.rows_b) | ~np.isclose(both.labels_a, both.labels_b)
                if differ.any():
                    raise _other_rows(runs[0], other, task, scenario, both[differ])


def _other_rows(
    first: Run, other: Run, task: str, scenario: str, differing: pd.DataFrame
) -> InputError:
    one = differing.iloc[0]
    user = differing.index[0].decode(errors="replace")
    place = task if scenario == POOL else f"{task} in {scenario}"
    return InputError(
        [
            Problem(
                f"{first.name} and {other.name}",
                f"other evaluation rows: of {place} {len(differing):,} users differ, for example "
                f"{user}, with {one.rows_a:.0f} rows and labels that sum to {one.labels_a:g} in "
                f"{first.name}, and {one.rows_b:.0f} and {one.labels_b:g} in {other.name}",
                "runs that were evaluated on the same rows",
                "Run them with the same data.path, data.eval, labels and scenarios.",
            )
        ]
    )


def _by_user(run: Run, task: str, scenario: str) -> pd.DataFrame:
    inside = rows_of(Cell(task, scenario, 0, 0), run.rows)
    frame = pd.DataFrame({"user": run.users[inside], "labels": run.rows.labels[task][inside]})
    return frame.groupby("user").labels.agg(rows="size", labels="sum")


def _same_task(first: Config, other: Config, task: str) -> bool:
    if task not in other.tasks:
        return False
    ours, theirs = first.tasks[task], other.tasks[task]
    return (ours.kind, ours.classes) == (theirs.kind, theirs.classes)


def _measure(run: Run, bootstrap: UserBootstrap, cell: Cell) -> dict[str, Estimate]:
    inside, outputs = rows_of(cell, run.rows), run.outputs[cell.task]
    if not len(inside) or not np.isfinite(outputs[inside]).all():
        return {}
    labels, requests = run.rows.labels[cell.task], run.rows.columns.get(REQUEST)
    return estimates(cell.kind, bootstrap, inside, labels, outputs, requests)


def _figure(cell: Cell, metric: str, found: Sequence[dict[str, Estimate]]) -> Figure:
    differences: list[Difference | None] = []
    for other in found[1:]:
        change = changes(other, found[0]).get(metric) if other else None
        differences.append(
            Difference(change["difference"], *change["interval"]) if change else None
        )
    values = [one[metric].value if one else None for one in found]
    return Figure(cell.task, cell.scenario, metric, values, differences)
