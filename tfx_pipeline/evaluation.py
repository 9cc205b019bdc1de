"""What the Evaluator computes, and its results as one row per task x scenario cell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import request_columns
from transforms.examples import REQUEST, SCENARIO
from transforms.problems import InputError, Problem
from transforms.task_labels import LabelKind

NOT_FINITE = "the model's scores are not finite"
POOL = "*"
"""The scenario of a cell that pools all rows."""


METRICS_MODULE = "tfx_pipeline.cell_metrics"
"""Where the Evaluator finds `CellMetrics`."""


def eval_config(config: Config) -> tfma.EvalConfig:
    """TFMA's config: every task, pooled and by scenario.

    It holds no thresholds: TFMA compares point estimates only and knows no cell that
    is too small to judge, so the Gate is the one that judges.
    """
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default", label_keys={task: task for task in config.tasks}
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[SCENARIO])],
        metrics_specs=[
            tfma.MetricsSpec(
                output_names=list(config.tasks),
                metrics=[
                    tfma.MetricConfig(
                        class_name="CellMetrics",
                        module=METRICS_MODULE,
                        config=json.dumps(
                            {
                                "kinds": {name: task.kind for name, task in config.tasks.items()},
                                "outputs": {
                                    name: task.classes or 1 for name, task in config.tasks.items()
                                },
                                "user_feature": config.data.user,
                                "request_feature": REQUEST if request_columns(config) else None,
                            }
                        ),
                    )
                ],
            )
        ],
    )


_VALUES = ("auc", "gauc", "logloss", "calibration", "ci")
"""What every cell has a value of, or a reason why not."""

_OF_KIND: Mapping[LabelKind, tuple[str, ...]] = {
    "binary": ("normalized_entropy",),
    "regression": ("mse",),
    "multiclass": ("accuracy",),
    "ranking": ("ndcg",),
}
"""What cells of a kind of task have besides."""

LOSS_KINDS: Mapping[LabelKind, str] = {"regression": "mse", "multiclass": "logloss"}
"""Kinds of tasks without an AUC, each with the loss that stands for it."""


@dataclass
class Cell:
    """Metrics of one task in one scenario; None where a value could not be computed.

    Rows outside of the task's sample space do not count.

    Args:
      task: Name of the task.
      scenario: Name of the scenario, `*` for the pool.
      examples: Rows.
      positives: Rows with a positive label, of a ranking task those of some relevance.
      kind: The task's.
      auc: Area under the ROC curve.
      gauc: Mean AUC by user, weighted by the user's rows.
      gauc_users: Users who have both classes, of whom that is the mean, where the Gate has set it.
      logloss: Mean cross-entropy, in nats.
      calibration: Mean prediction / mean label.
      normalized_entropy: Log loss over that of always predicting the mean label, of a binary task.
      ci: 95% confidence interval of the AUC, where the Gate has set it.
      mse: Mean squared error of a regression.
      accuracy: Share of rows whose class is the most probable one, of a multiclass task.
      ndcg: Mean NDCG by request, of a ranking task.
      auc_ceiling: AUC of the true probabilities, where the logs hold them.
      auc_baseline: AUC of the last pushed version on the same rows, where there is one.
      loss_baseline: Likewise the mse of a regression, or the logloss of a multiclass task.
      change: By metric the baseline's value, the difference to it, and its 95% interval, where
        there is a baseline.
      status: `judged` or `not_judged`.
      why_null: For each value that is None, the reason.
    """

    task: str
    scenario: str
    examples: int
    positives: int | None
    kind: LabelKind = "binary"
    auc: float | None = None
    gauc: float | None = None
    gauc_users: int | None = None
    logloss: float | None = None
    calibration: float | None = None
    ci: list[float] | None = None
    normalized_entropy: float | None = None
    mse: float | None = None
    accuracy: float | None = None
    ndcg: float | None = None
    auc_ceiling: float | None = None
    auc_baseline: float | None = None
    loss_baseline: float | None = None
    change: dict[str, dict[str, Any]] | None = None
    status: str = "judged"
    why_null: dict[str, str] = field(default_factory=dict)

    @property
    def negatives(self) -> int | None:
        """Rows with a negative label."""
        return None if self.positives is None else self.examples - self.positives

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, without those that only other kinds have."""
        others = {name for names in _OF_KIND.values() for name in names} - {*_OF_KIND[self.kind]}
        if self.kind not in LOSS_KINDS:
            others.add("loss_baseline")
        return {name: value for name, value in asdict(self).items() if name not in others}


def read_cells(evaluation_uri: str, config: Config) -> list[Cell]:
    """Reads the Evaluator's results.

    Args:
      evaluation_uri: Folder of the ModelEvaluation artifact.
      config: The run's config.

    Returns:
      A cell per task and scenario, the pool first, in the config's order; also for a scenario
      that has no rows.

    Raises:
      InputError: if they cannot be read.
    """
    values = _read_values(evaluation_uri)
    if not any(scenario == POOL for _, scenario in values):
        raise _unreadable(evaluation_uri, "no metrics of all rows")
    return [
        _to_cell(name, task.kind, scenario, values.get((name, scenario)))
        for name, task in config.tasks.items()
        for scenario in [POOL, *config.scenario.names]
    ]


def _read_values(uri: str) -> dict[tuple[str, str], dict[str, float]]:
    """Values by name, by task and scenario."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    try:
        for slice_key, by_output in tfma.load_eval_result(uri).slicing_metrics:
            scenario = str(slice_key[0][1]) if slice_key else POOL
            for task, by_sub_key in by_output.items():
                found[task, scenario] = {
                    name: float(value["doubleValue"])
                    for name, value in by_sub_key[""].items()
                    if "doubleValue" in value
                }
    # What a broken file raises is up to the reader that meets it first.
    except Exception as error:
        raise _unreadable(uri, f"{type(error).__name__}: {error}") from error
    return found


def _unreadable(uri: str, found: str) -> InputError:
    return InputError(
        [
            Problem(
                uri,
                found.strip().splitlines()[0],
                "the Evaluator's metrics, whole",
                "Remove this folder and run again: the Evaluator then writes it anew.",
            )
        ]
    )


def _to_cell(task: str, kind: LabelKind, scenario: str, metrics: dict[str, float] | None) -> Cell:
    has_classes = kind not in LOSS_KINDS
    names = (*_VALUES, *_OF_KIND[kind])
    examples = 0 if metrics is None else round(metrics["cell_examples"])
    if metrics is None or not examples:
        why = "there are no rows" if metrics is None else "no row is in the task's sample space"
        positives = 0 if has_classes else None
        return Cell(task, scenario, 0, positives, kind, why_null=dict.fromkeys(names, why))
    cell = Cell(task, scenario, examples, None, kind)
    if has_classes:
        cell.positives = round(metrics["cell_positives"])
    for name in names:
        if f"cell_{name}" in metrics:
            setattr(cell, name, _finite(metrics[f"cell_{name}"]))
    reasons = _reasons(cell, [name for name in names if f"cell_{name}" in metrics])
    cell.why_null = {
        name: reasons[name]
        for name in ("positives", *names)
        if getattr(cell, name) is None and name in reasons
    }
    return cell


def _reasons(cell: Cell, measured: Sequence[str]) -> dict[str, str]:
    """Why a value of a cell with rows is None, where it is."""
    no_classes = f"labels of a {cell.kind} task are not positive or negative"
    if cell.positives is None:
        reasons = dict.fromkeys(("positives", "auc", "gauc", "calibration", "ci"), no_classes)
        reasons["logloss"] = "a regression predicts no probability"
    else:
        one_class = f"all {cell.examples} labels are {'positive' if cell.positives else 'negative'}"
        reasons = dict.fromkeys(("auc", "ci", "calibration", "normalized_entropy"), one_class)
        reasons["gauc"] = "no user has both positive and negative labels"
        reasons["ndcg"] = "no request has rows of unequal relevance"
        if cell.kind == "ranking":
            why = "scores of a ranking task order rows and are no probabilities"
            reasons |= {"logloss": why, "calibration": why}
        if cell.auc is not None:
            del reasons["ci"]
    # Finite scores of whatever rows define one of these.
    always = {"regression": "mse", "ranking": "auc"}.get(cell.kind, "logloss")
    if getattr(cell, always) is None and (
        always != "auc" or 0 < (cell.positives or 0) < cell.examples
    ):
        reasons |= dict.fromkeys(measured, NOT_FINITE)
        reasons |= {"ci": NOT_FINITE} if cell.positives is not None else {}
    return reasons


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
