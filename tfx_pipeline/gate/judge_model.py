"""Everything between the Evaluator's metrics and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.config import Config
from tfx_pipeline.evaluation import LOSS_KINDS, Cell, read_cells
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.measure import Measured, curves, describe, measure, set_ceilings
from tfx_pipeline.gate.pushed import PushedVersion, score_pushed
from tfx_pipeline.gate.same_evaluation import check_same_evaluation
from tfx_pipeline.gate.verdict import judge
from tfx_pipeline.inputs import request_columns
from tfx_pipeline.model_check.problem import failures as failures_of_check
from tfx_pipeline.scoring import EvaluationRows, read_rows, score
from transforms.examples import REQUEST


def judge_model(
    config: Config,
    *,
    examples: str,
    model: str,
    evaluation: str,
    model_check: Mapping[str, Any],
    pushed: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judges a candidate on the evaluation rows.

    Args:
      config: The run's config.
      examples: Glob of the rows, gzipped TFRecords.
      model: The candidate's SavedModel.
      evaluation: Folder of the Evaluator's metrics of it.
      model_check: What ModelCheck found of it, `model_check.json`.
      pushed: `version` and `path` of the last pushed version, or nulls.

    Returns:
      What `verdict.json` holds, less the candidate's place, and what `curves.json` holds.

    Raises:
      InputError: if the metrics, or the last pushed version, cannot be read, or if the metrics are
        of another model or other rows.
    """
    cells = read_cells(evaluation, config)
    rows = read_evaluation_rows(config, examples)
    users = rows.columns[config.data.user]
    set_ceilings(cells, rows)
    candidate = score(tf.saved_model.load(model), rows.examples)
    last = PushedVersion({}, [], [])
    version = pushed["version"] if config.gate.compare else None
    if version is not None:
        last = score_pushed(pushed["path"], version, rows.examples, config, candidate)
    measured = measure(
        cells,
        rows,
        UserBootstrap(users, config.gate.draws),
        candidate=candidate,
        baseline=last.outputs,
        requests=rows.columns.get(REQUEST),
    )
    check_same_evaluation(evaluation, cells, measured, rows.labels, candidate, users)
    for cell in cells:
        if found := measured.get((cell.task, cell.scenario)):
            describe(cell, found)
    failures, not_judged = judge(cells, measured, config.gate, version)
    failures = failures_of_check(model_check) + last.failures + failures
    verdict = {
        "format": GateVerdict.FORMAT,
        "blessed": not failures,
        "confidence": config.gate.confidence,
        "baseline_version": version,
        "failures": failures,
        "not_judged": not_judged,
        "notes": last.notes,
        "metrics": [cell.as_dict() for cell in cells],
    }
    return verdict, _curves(cells, measured, rows, candidate, last.outputs)


def read_evaluation_rows(config: Config, examples: str) -> EvaluationRows:
    """Reads what the metrics of a config's tasks need.

    Args:
      config: The config.
      examples: Glob of the rows, gzipped TFRecords.

    Returns:
      Among its columns the user and, where tasks rank within requests, the request.
    """
    kinds = {name: task.kind for name, task in config.tasks.items()}
    with_truth = [name for name, task in config.tasks.items() if task.true_probability]
    also = {config.data.user: tf.string}
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
