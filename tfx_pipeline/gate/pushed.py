"""Pushed versions, as what a candidate is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_pipeline.config import Config
from tfx_pipeline.evaluation import POOL
from tfx_pipeline.gate.own_features import own_outputs
from tfx_pipeline.gate.series import Series
from tfx_pipeline.inputs import history
from tfx_pipeline.scoring import model_scenarios, required_columns, score
from transforms.problems import InputError, Problem


@dataclass(frozen=True)
class PushedVersion:
    """What the last pushed version says of the evaluation rows.

    Args:
      outputs: By task, of those that can be compared: float32 [R], of multiclass tasks [R, C].
      failures: Why it cannot be compared at all.
      notes: What to know about the comparison, each a `{"scenario", "why"}`.
      own: The outputs with the features of its own run, where they differ.
    """

    outputs: dict[str, np.ndarray]
    failures: list[dict[str, Any]]
    notes: list[dict[str, str]]
    own: dict[str, np.ndarray] = field(default_factory=dict)


def score_pushed(
    path: str,
    version: int,
    examples: np.ndarray,
    config: Config,
    candidate: Mapping[str, np.ndarray],
    days: np.ndarray | None = None,
    series: Series | None = None,
) -> PushedVersion:
    """Scores the evaluation rows with the last pushed version.

    Args:
      path: Its folder.
      version: Its number.
      examples: R serialized tf.Examples.
      config: The run's config.
      candidate: The candidate's outputs by task.
      days: Ordinals of the rows' days, [R]; with `series` alone.
      series: From the version's card, to score it with the features of its own run, too.

    Raises:
      InputError: if it cannot be loaded.
    """
    try:
        model = tf.saved_model.load(path)
        required, scenarios = required_columns(model), model_scenarios(model)
        failures = judge_comparability(required, config)
        outputs = {} if failures else score(model, examples)
    # TensorFlow raises whatever its reader of the broken part does.
    except Exception as error:
        raise InputError(
            [
                Problem(
                    f"version {version} in {path}",
                    f"a model that cannot be loaded ({_first_line(error)})",
                    "the last pushed version, to compare the candidate with",
                    "Restore the folder, remove it (then the version before counts), or give up "
                    "the comparison with gate.compare=false.",
                )
            ]
        ) from error
    if failures:
        return PushedVersion({}, failures, [])
    outputs, notes, failures = comparable(candidate, outputs, version, config)
    notes += scenario_notes(scenarios, config.scenario.names, version)
    own: dict[str, np.ndarray] = {}
    if series is not None and days is not None:
        own, note = own_outputs(model, examples, days, config, outputs, series)
        if note is not None:
            why = f"version {version} is compared with the features of this run alone: {note}"
            notes.append({"scenario": POOL, "why": why})
    return PushedVersion(outputs, failures, notes, own)


def judge_comparability(required: set[str], config: Config) -> list[dict[str, Any]]:
    """A failure if the last pushed version reads columns that the examples no longer hold.

    It would be scored as if they were missing, and a fall below what it really reaches
    would pass; a statistic it would look up in its own tables, which may hold the very rows.
    `gate.compare: false` gives up the comparison.

    Args:
      required: Columns that the last pushed version reads.
      config: The run's config.
    """
    kept = history(config)
    held = {*config.features.fields, config.scenario.column, config.data.user}
    held |= set(kept.features if kept else ())
    missing = sorted(required - held)
    if not missing:
        return []
    return [
        _not_comparable(
            POOL,
            "columns",
            f"the last pushed version also reads {', '.join(missing)}; keep them among the "
            "features, or give up the comparison with gate.compare=false",
        )
    ]


def comparable(
    candidate: Mapping[str, np.ndarray],
    pushed: Mapping[str, np.ndarray],
    version: int,
    config: Config,
) -> tuple[dict[str, np.ndarray], list[dict[str, str]], list[dict[str, Any]]]:
    """Which tasks can be compared.

    Args:
      candidate: The candidate's outputs.
      pushed: The last pushed version's.
      version: Its number.
      config: The run's config.

    Returns:
      The last pushed version's outputs of these tasks; notes on the others; failures where it
      scores rows with what is no number.
    """
    outputs, notes, failures = {}, [], []
    for task in config.tasks:
        why = None
        if task not in pushed:
            why = f"version {version} does not predict it"
        elif pushed[task].shape != candidate[task].shape:
            found, now = _width(pushed[task]), _width(candidate[task])
            why = f"version {version} has {found} outputs for it, the candidate {now}"
        if why is not None:
            notes.append({"scenario": POOL, "why": f"{task} is not compared: {why}"})
        elif not np.isfinite(pushed[task]).all():
            failures.append(
                _not_comparable(
                    task,
                    "scores",
                    f"version {version} scores {task} of some rows with what is no number; remove "
                    "that version, or give up the comparison with gate.compare=false",
                )
            )
        else:
            outputs[task] = pushed[task]
    return outputs, notes, failures


def scenario_notes(
    known: list[str] | None, listed: list[str], version: int
) -> list[dict[str, str]]:
    """Scenarios that are new, or gone, since a version.

    Args:
      known: The version's; None where it does not tell.
      listed: Those of the run's config.
      version: The version's number.
    """
    if known is None:
        return []
    notes = [
        {
            "scenario": name,
            "why": f"{name} is new: version {version} did not know it, and scores its rows as "
            "`other`",
        }
        for name in listed
        if name not in known
    ]
    return notes + [
        {
            "scenario": name,
            "why": f"{name} is gone: version {version} knew it, now its rows are in `other`",
        }
        for name in known
        if name not in listed
    ]


def _not_comparable(task: str, metric: str, why: str) -> dict[str, Any]:
    return {
        "task": task,
        "scenario": POOL,
        "metric": metric,
        "value": None,
        "threshold": None,
        "kind": "not_comparable",
        "why": why,
    }


def _width(outputs: np.ndarray) -> int:
    return 1 if outputs.ndim == 1 else outputs.shape[1]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"
