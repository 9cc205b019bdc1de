"""What a run adds to the series of pushed versions, and what it says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfx_pipeline.evaluation import LOSS_KINDS, POOL, Cell
from tfx_pipeline.gate.measure import Measured, weight_of
from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.gate.series import RUNS, Difference, RunDifferences, Series, moved, over_runs

METRICS = ("auc", "gauc", "logloss", "mse")
"""Those that a change is judged by."""


def differences(
    cells: Sequence[Cell], measured: Mapping[tuple[str, str], Measured]
) -> list[Difference]:
    """How far the candidate lies above the anchor, in all cells whose noise is known.

    Args:
      cells: The cells.
      measured: By task and scenario.
    """
    found = []
    for cell in cells:
        one = measured.get((cell.task, cell.scenario))
        if one is None or one.anchor is None or not weight_of(cell):
            continue
        for metric in one.candidate.keys() & {*METRICS}:
            between = one.candidate[metric].minus(one.anchor[metric])
            error = between.standard_error
            if between.value is None or not np.isfinite(error):
                continue
            classes = cell.positives is not None
            found.append(
                Difference(
                    task=cell.task,
                    scenario=cell.scenario,
                    metric=metric,
                    difference=between.value,
                    variance=error**2,
                    degrees=between.degrees,
                    weight=weight_of(cell),
                    positives=(cell.positives or 0) if classes else cell.examples,
                    negatives=(cell.negatives or 0) if classes else 0,
                )
            )
    return sorted(found, key=lambda d: (d.task, d.scenario, d.metric))


def series_after(
    series: Series | None,
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
    days: tuple[int, int],
    *,
    model: str,
    scores: str,
) -> Series:
    """What the candidate's card is to hold, if it is pushed.

    Args:
      series: What the last pushed version's card holds; None where nothing was compared.
      cells: The cells.
      measured: By task and scenario.
      days: Ordinals of the first and the last day of the evaluation rows.
      model: Folder of the candidate's SavedModel.
      scores: File of the candidate's scores.
    """
    fresh = Series(
        anchor=None, anchor_model=model, last_day=days[1], scores=scores, runs=[], carried=[]
    )
    if series is None:
        return fresh
    today = differences(cells, measured)
    if len(series.runs) + 1 >= RUNS:
        return fresh.model_copy(update={"carried": moved(series, today)})
    run = RunDifferences(first_day=days[0], last_day=days[1], cells=today)
    kept = {"anchor": series.anchor, "anchor_model": series.anchor_model, "carried": series.carried}
    return fresh.model_copy(update={**kept, "runs": [*series.runs, run]})


def series_notes(
    series: Series | None,
    version: int | None,
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
) -> list[dict[str, str]]:
    """How far the series has come down, over all runs that know."""
    if series is None or (series.anchor == version and not series.runs and not series.carried):
        return []
    lower, known, pools = 0, 0, []
    for cell in cells:
        found = measured.get((cell.task, cell.scenario))
        if found is None or found.anchor is None or cell.status != "judged":
            continue
        metric = LOSS_KINDS.get(cell.kind, "auc")
        between = found.candidate[metric].minus(found.anchor[metric])
        if between.value is None or not weight_of(cell):
            continue
        past = series.past(cell.task, {cell.scenario: weight_of(cell)}, metric)
        over = over_runs(between, past, 1, 0.0)
        known += 1
        worse = over.draws[0] < 0 if metric == "auc" else over.draws[0] > 0
        lower += bool(worse)
        if cell.scenario == POOL:
            low, high = over.interval() or [np.nan, np.nan]
            pools.append(
                f"{METRIC_NAMES[metric]} of {cell.task} by {over.draws[0]:+.4f} "
                f"({low:+.4f} to {high:+.4f})"
            )
    if not known:
        return []
    why = (
        f"over {len(series.runs) + 1} runs {lower} of {known} judged cells lie below the best of "
        f"earlier versions (now held against version {series.anchor}); over all rows "
        f"{', '.join(pools)}"
    )
    return [{"scenario": POOL, "why": why}]
