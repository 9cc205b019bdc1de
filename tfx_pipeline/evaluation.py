"""What the Evaluator computes, and its results as one row per task x scenario cell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import request_columns
from transforms.examples import REQUEST, SCENARIO
from transforms.task_labels import LabelKind

POOL = "*"
"""The scenario of a cell that pools all rows."""


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
                        module="tfx_pipeline.cell_metrics",
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
    "binary": (),
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
      logloss: Mean cross-entropy, in nats.
      calibration: Mean prediction / mean label.
      ci: 95% confidence interval of the AUC.
      mse: Mean squared error of a regression.
      accuracy: Share of rows whose class is the most probable one, of a multiclass task.
      ndcg: Mean NDCG by request, of a ranking task.
      auc_ceiling: AUC of the true probabilities, where the logs hold them.
      auc_baseline: AUC of the last pushed version on the same rows, where there is one.
      loss_baseline: Likewise the mse of a regression, or the logloss of a multiclass task.
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
    logloss: float | None = None
    calibration: float | None = None
    ci: list[float] | None = None
    mse: float | None = None
    accuracy: float | None = None
    ndcg: float | None = None
    auc_ceiling: float | None = None
    auc_baseline: float | None = None
    loss_baseline: float | None = None
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
    """
    values: dict[tuple[str, str], dict[str, float]] = {}
    for slice_key, by_output in tfma.load_eval_result(evaluation_uri).slicing_metrics:
        scenario = str(slice_key[0][1]) if slice_key else POOL
        for task, by_sub_key in by_output.items():
            metrics = {
                name: float(value["doubleValue"])
                for name, value in by_sub_key[""].items()
                if "doubleValue" in value
            }
            values.setdefault((task, scenario), {}).update(metrics)
    return [
        _to_cell(name, task.kind, scenario, values.get((name, scenario)))
        for name, task in config.tasks.items()
        for scenario in [POOL, *config.scenario.names]
    ]


def _to_cell(task: str, kind: LabelKind, scenario: str, metrics: dict[str, float] | None) -> Cell:
    has_classes = kind not in LOSS_KINDS
    values = (*_VALUES, *_OF_KIND[kind])
    examples = 0 if metrics is None else round(metrics["cell_examples"])
    if metrics is None or not examples:
        why = "there are no rows" if metrics is None else "no row is in the task's sample space"
        positives = 0 if has_classes else None
        return Cell(task, scenario, 0, positives, kind, why_null=dict.fromkeys(values, why))
    cell = Cell(task, scenario, examples, None, kind)
    for name in values:
        if f"cell_{name}" in metrics:
            setattr(cell, name, _finite(metrics[f"cell_{name}"]))
    if not has_classes:
        why = f"labels of a {kind} task are not positive or negative"
        cell.why_null = dict.fromkeys(("positives", "auc", "gauc", "calibration", "ci"), why)
        if kind == "regression":
            cell.why_null["logloss"] = "a regression predicts no probability"
        return cell
    cell.positives = positives = round(metrics["cell_positives"])
    one_class = f"all {examples} labels are {'positive' if positives else 'negative'}"
    if cell.auc is None:
        cell.why_null |= {"auc": one_class, "ci": one_class}
    else:
        cell.ci = auc_interval(cell.auc, positives, examples - positives)
    if cell.gauc is None:
        cell.why_null["gauc"] = "no user has both positive and negative labels"
    if kind == "ranking":
        for name in ("logloss", "calibration"):
            cell.why_null[name] = "scores of a ranking task order rows and are no probabilities"
        if cell.ndcg is None:
            cell.why_null["ndcg"] = "no request has rows of unequal relevance"
    elif cell.calibration is None:
        cell.why_null["calibration"] = one_class
    return cell


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def auc_interval(auc: float, positives: int, negatives: int) -> list[float]:
    """95% confidence interval of an AUC, as if rows were independent.

    Var = [A (1 - A) + (P - 1)(Q1 - A^2) + (N - 1)(Q2 - A^2)] / (P N) with
    Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A) (Hanley and McNeil, Radiology 1982).

    Args:
      auc: The AUC, A.
      positives: Positive rows, P > 0.
      negatives: Negative rows, N > 0.

    Returns:
      [low, high], cut to [0, 1].
    """
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = (
        auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    ) / (positives * negatives)
    margin = 1.96 * math.sqrt(max(variance, 0.0))
    return [max(0.0, auc - margin), min(1.0, auc + margin)]
