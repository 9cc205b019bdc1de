"""Everything between the Evaluator's metrics and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pydantic import ValidationError

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.config import Config
from tfx_pipeline.evaluation import LOSS_KINDS, POOL, Cell, read_cells
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.measure import Measured, curves, describe, measure, set_ceilings
from tfx_pipeline.gate.own_features import RunScores, has_run_features, key_columns, row_keys
from tfx_pipeline.gate.pushed import PushedVersion, score_pushed
from tfx_pipeline.gate.same_evaluation import check_same_evaluation
from tfx_pipeline.gate.series import Series
from tfx_pipeline.gate.series_of_cells import series_after, series_notes
from tfx_pipeline.gate.verdict import judge
from tfx_pipeline.inputs import request_columns
from tfx_pipeline.model_check.problem import failures as failures_of_check
from tfx_pipeline.scoring import EvaluationRows, read_rows, score
from transforms.examples import DAY, REQUEST
from transforms.problems import InputError, Problem


def judge_model(
    config: Config,
    *,
    examples: str,
    model: str,
    evaluation: str,
    model_check: Mapping[str, Any],
    pushed: Mapping[str, Any],
    scores: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judges a candidate on the evaluation rows.

    Args:
      config: The run's config.
      examples: Glob of the rows, gzipped TFRecords.
      model: The candidate's SavedModel.
      evaluation: Folder of the Evaluator's metrics of it.
      model_check: What ModelCheck found of it, `model_check.json`.
      pushed: Of the last pushed version, what `baseline.json` holds.
      scores: File that the candidate's scores are written to, for later runs.

    Returns:
      What `verdict.json` holds, less the candidate's place, and what `curves.json` holds.

    Raises:
      InputError: if the metrics, or the last pushed version, cannot be read, or if the metrics are
        of another model or other rows.
    """
    cells = read_cells(evaluation, config)
    rows = read_evaluation_rows(config, examples)
    users, days = rows.columns[config.data.user], rows.columns[DAY]
    set_ceilings(cells, rows)
    candidate = score(tf.saved_model.load(model), rows.examples)
    last, anchor, series = PushedVersion({}, [], []), PushedVersion({}, [], []), None
    version = pushed["version"] if config.gate.compare else None
    if version is not None:
        known = pushed.get("series")
        card = None if known is None else _read_series(known, version)
        own = card if card is not None and has_run_features(config) else None
        last = score_pushed(pushed["path"], version, rows.examples, config, candidate, days, own)
        anchor, series = _anchor(pushed, card, last, rows, config, candidate)
    measured = measure(
        cells,
        rows,
        UserBootstrap(users, config.gate.draws),
        candidate=candidate,
        baseline=last.outputs,
        own=last.own,
        anchor=anchor.outputs,
        requests=rows.columns.get(REQUEST),
    )
    check_same_evaluation(evaluation, cells, measured, rows.labels, candidate, users)
    for cell in cells:
        if found := measured.get((cell.task, cell.scenario)):
            describe(cell, found)
    judged = judge(cells, measured, config.gate, version, series)
    failures = failures_of_check(model_check) + last.failures + judged.failures
    if has_run_features(config):
        keys = row_keys(rows.examples, config)
        RunScores(key_columns(config), keys, candidate).write(scores)
    after = series_after(
        series,
        cells,
        measured,
        (int(days.min()), int(days.max())),
        model=model,
        scores=scores if has_run_features(config) else "",
    )
    verdict = {
        "format": GateVerdict.FORMAT,
        "blessed": not failures,
        "confidence": config.gate.confidence,
        "baseline_version": version,
        "failures": failures,
        "not_judged": judged.not_judged,
        "warnings": judged.warnings,
        "notes": [*last.notes, *anchor.notes, *series_notes(series, version, cells, measured)],
        "margins": judged.margins,
        "series": after.model_dump(),
        "metrics": [cell.as_dict() for cell in cells],
    }
    return verdict, _curves(cells, measured, rows, candidate, last.outputs)


def _read_series(known: Mapping[str, Any], version: int) -> Series:
    try:
        return Series.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            [
                Problem(
                    f"`series` in the card of version {version}",
                    f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                    "what this version of the program wrote",
                    "Give up the comparison for one run with gate.compare=false: the series then "
                    "begins anew.",
                )
            ]
        ) from error


def _anchor(
    pushed: Mapping[str, Any],
    card: Series | None,
    last: PushedVersion,
    rows: EvaluationRows,
    config: Config,
    candidate: Mapping[str, np.ndarray],
) -> tuple[PushedVersion, Series]:
    """The anchor's outputs, and what earlier runs say of it.

    Without what its card should tell, the last pushed version is the anchor.
    """
    days = rows.columns[DAY]
    version, path = int(pushed["version"]), pushed.get("anchor")
    fresh = Series(
        anchor=version,
        anchor_model=pushed["path"],
        last_day=int(days.min()) - 1,
        scores="",
        runs=[],
        carried=[],
    )
    if last.failures:
        return last, fresh
    if card is None:
        return PushedVersion(last.outputs, [], []), fresh
    carried = fresh.model_copy(update={"carried": card.carried})
    series = card.model_copy(update={"anchor": (number := card.anchor or version)})
    series = series.before(int(days.min()), int(days.max()))
    if number == version:
        return PushedVersion(last.outputs, [], []), series
    if path is None:
        why = "is gone"
    else:
        try:
            found = score_pushed(path, number, rows.examples, config, candidate)
        except InputError as error:
            why = f"cannot be loaded ({error.problems[0].found})"
        else:
            if not found.failures:
                return PushedVersion(found.outputs, [], []), series
            why = found.failures[0]["why"]
    note = (
        f"the series is held against version {version} from now on, for version {number}, "
        f"that it was held against, {why}"
    )
    return PushedVersion(last.outputs, [], [{"scenario": POOL, "why": note}]), carried


def read_evaluation_rows(config: Config, examples: str) -> EvaluationRows:
    """Reads what the metrics of a config's tasks need.

    Args:
      config: The config.
      examples: Glob of the rows, gzipped TFRecords.

    Returns:
      Among its columns the user, the day and, where tasks rank within requests, the request.
    """
    kinds = {name: task.kind for name, task in config.tasks.items()}
    with_truth = [name for name, task in config.tasks.items() if task.true_probability]
    also = {config.data.user: tf.string, DAY: tf.int64}
    if request_columns(config):
        also[REQUEST] = tf.int64
    return read_rows(examples, kinds, with_truth, also)


def _curves(
    cells: Sequence[Cell],
    measured: Mapping[tuple[str, str], Measured],
    rows: EvaluationRows,
    candidate: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
) -> dict[str, dict[str, Any]]:
    drawn: dict[str, dict[str, Any]] = {}
    for cell in cells:
        found = measured.get((cell.task, cell.scenario))
        if found is None or cell.kind in LOSS_KINDS:
            continue
        labels, last = rows.labels[cell.task], baseline.get(cell.task)
        lines = curves(cell, found.rows, labels, candidate[cell.task], last)
        if lines is not None:
            drawn.setdefault(cell.task, {})[cell.scenario] = lines
    return drawn
