"""Outcomes of runs that never were, for tests of the page that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfx_pipeline.config import Config
from tfx_pipeline.drift import Anomaly, FeatureDrift, Side
from tfx_pipeline.report import Outcome
from tfx_pipeline.run_record import ComponentRun

LOSSES = {"regression": "mse", "multiclass": "logloss"}


def make_config(kinds: dict[str, str], scenarios: Sequence[str]) -> Config:
    tasks: dict[str, Any] = {
        name: {"label": f"{name} == 1" if kind == "binary" else name, "kind": kind}
        for name, kind in kinds.items()
    }
    for name, kind in kinds.items():
        if kind == "multiclass":
            tasks[name]["classes"] = 3
    return Config.model_validate(
        {
            "name": "job",
            "data": {
                "path": "logs",
                "logs": "*.csv",
                "event_key": ["user", "item", "time"],
                "event_time": "time",
                "user": "user",
                "request": ["user", "time"],
                "train": "2024-01-01..2024-01-05",
                "valid": "2024-01-06",
                "eval": "2024-01-07",
            },
            "features": {"categorical": ["user", "item", "tab"], "numeric": ["age"]},
            "scenario": {"column": "tab", "values": list(scenarios)},
            "tasks": tasks,
            "model": {"preset": "ple", "embedding": {"capacity": 64}},
        }
    )


def make_cell(
    task: str, scenario: str, kind: str, rng: np.random.Generator, *, rows: int, baseline: bool
) -> dict[str, Any]:
    metric = LOSSES.get(kind, "auc")
    value, change = float(rng.uniform(0.6, 0.75)), float(rng.normal() * 0.01)
    width = 1.5 / math.sqrt(rows)
    cell: dict[str, Any] = {
        "task": task,
        "scenario": scenario,
        "examples": rows,
        "positives": None if kind in LOSSES else rows // 10,
        "kind": kind,
        "status": "judged" if rows >= 1_000 else "not_judged",
        **dict.fromkeys(("auc", "gauc", "logloss", "calibration", "ci"), None),
        "auc_ceiling": None,
        "auc_baseline": None,
        "why_null": {},
        "change": None,
        metric: value,
    }
    if kind not in LOSSES:
        cell |= {"gauc": value - 0.02, "ci": [value - width, value + width]}
        cell["gauc_users"] = 9 if scenario == "other" else 496
    if kind == "binary":
        cell |= {"logloss": 0.3, "calibration": 1.02, "normalized_entropy": 0.93}
    if baseline:
        cell["change"] = {
            metric: {
                "baseline": value - change,
                "difference": change,
                "interval": [change - width / 2, change + width / 2],
            }
        }
    return cell


def make_curves(rng: np.random.Generator, rows: int, share: float) -> dict[str, Any]:
    x = np.linspace(0, 1, 101)
    bins = []
    for predicted in share * np.linspace(0.2, 2.5, 10):
        observed = float(np.clip(predicted * rng.normal(1, 0.08), 0, 1))
        margin = 1.96 * math.sqrt(observed * (1 - observed) / (rows / 10))
        bins.append(
            {
                "rows": rows // 10,
                "predicted": float(predicted),
                "observed": observed,
                "low": max(0.0, observed - margin),
                "high": observed + margin,
            }
        )
    return {
        "roc": {
            "false_positive_rate": x.tolist(),
            "true_positive_rate": (x ** rng.uniform(0.4, 0.6)).tolist(),
        },
        "calibration": bins,
    }


def make_gates(tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Any]:
    """Those of a PLE of two levels with EPNet and PPNet; the last scenario has no rows."""
    rng = np.random.default_rng(2)
    own = [f"own {i}" for i in (1, 2)]
    shared = [f"shared {i}" for i in (1, 2)]
    of_all = [f"{task} {i}" for task in tasks for i in (1, 2)] + shared

    def gate(factor: bool = False, **labels: Sequence[str]) -> dict[str, Any]:
        shape = [len(scenarios), *map(len, labels.values())]
        drawn = rng.uniform(0.7, 1.3, shape)
        mean = (drawn if factor else drawn / drawn.sum(-1, keepdims=True)).tolist()
        return {"axes": ["scenario", *labels], "labels": labels, "mean": [*mean[:-1], None]}

    return {
        "scenarios": list(scenarios),
        "rows": [*([500] * (len(scenarios) - 1)), 0],
        "gates": {
            "level_1/task_gates": gate(task=list(tasks), expert=[*own, *shared]),
            "level_1/shared_gate": gate(expert=of_all),
            "level_2/task_gates": gate(task=list(tasks), expert=[*own, *shared]),
            "epnet/delta": gate(factor=True, field=["user", "item", "tab", "age"]),
            "ppnet/gate_1": gate(factor=True, task=list(tasks)),
        },
    }


def make_outcome(
    kinds: dict[str, str] | None = None,
    scenarios: Sequence[str] = ("feed", "search", "nearby", "channel", "follow"),
    *,
    baseline: bool = True,
    blessed: bool = False,
) -> Outcome:
    """A run; `other` is a scenario of few rows, and of the last one the first task fails."""
    kinds = kinds or dict.fromkeys(("click", "long_view", "like", "profile_enter"), "binary")
    rng = np.random.default_rng(1)
    config = make_config(kinds, scenarios)
    tasks, names = list(kinds), config.scenario.names
    size = {name: 40_000 // (2 + i) ** 2 for i, name in enumerate(scenarios)} | {"other": 60}
    size["*"] = sum(size.values())
    cells = [
        make_cell(task, name, kind, rng, rows=size[name], baseline=baseline)
        for task, kind in kinds.items()
        for name in ["*", *names]
    ]
    failure = {
        "task": tasks[0],
        "scenario": scenarios[-1],
        "metric": "auc",
        "value": 0.61,
        "threshold": 0.63,
        "baseline": 0.64,
        "kind": "change",
        "why": f"{tasks[0]} in {scenarios[-1]}: the AUC fell from 0.6400 to 0.6100 & more.",
    }
    curves: dict[str, Any] = {}
    for task, kind in kinds.items():
        for i, name in enumerate(["*", *names]) if kind not in LOSSES else ():
            found = make_curves(rng, size[name], 0.02 * (1 + i))
            if baseline:
                found["baseline"] = make_curves(rng, size[name], 0.02 * (1 + i))
            if kind == "ranking":
                found.pop("calibration")
                found.get("baseline", {}).pop("calibration", None)
            curves.setdefault(task, {})[name] = found
    epochs = [
        {
            "epoch": i,
            "loss": 1.8 / i,
            "valid_quality": {task: 0.6 + 0.02 * i + 0.01 * k for k, task in enumerate(tasks)},
            "mean_quality": 0.6,
            "examples": 100_000,
            "seconds": 4.0,
            "examples_per_second": 25_000.0,
            "table": {
                "live_rows": 9_000.0 * i,
                "load": 0.1 * i,
                "admissions": 9_500.0,
                "evictions": 500.0 * (i - 1),
                "expirations": 0.0,
                "hit_rate": 0.6 + 0.05 * i,
            },
            "hit_rate_by_field": {"user": 0.8, "item": 0.7, "tab": 1.0},
        }
        for i in range(1, 6)
    ]
    return Outcome(
        config=config,
        counts={
            "read": 123_456,
            "train": 100_000,
            "valid": 20_000,
            "eval": size["*"],
            "duplicates": 300,
            "equal_rows": 200,
            "equal_keys": 100,
            "rejected": 12,
            "out_of_range": 0,
            "other_scenario_rows": 60,
            "outside": {},
            "filled": {"age": 7},
            "clock": {"skewed": 5, "other_day": 4},
            "empty_days": ["2024-01-03"],
            "outcomes": {
                **{"read": 1_015, "matched": 900, "unmatched": 90, "late": 20, "duplicates": 3},
                **{"rejected": 2, "open_days": ["2024-01-07"]},
            },
            "schema_changes": [
                {
                    "kind": "new_column",
                    "where": "day.parquet",
                    "found": "a new column `<session>`",
                    "was": "the columns of before",
                }
            ],
            "arrived_again": [
                {
                    "day": "2024-01-05",
                    "version": 1,
                    **{"rows": 20_000, "rows_before": 19_000},
                    **{"labels": {"click": 5_000.0}, "labels_before": {"click": 4_800.0}},
                }
            ],
            "reasons": [{"rows": 12, "reason": "no time", "example": '{"user": "<7>"}'}],
        },
        history={"epochs": epochs, "best_epoch": 4},
        gates=make_gates(tasks, names),
        verdict={
            "format": 3,
            "blessed": blessed,
            "confidence": 0.95,
            "baseline_version": "1732271045" if baseline else None,
            "candidate": "model/7",
            "failures": [] if blessed else [failure],
            "not_judged": [
                {"task": t, "scenario": "other", "why": "6 positives, fewer than 50"} for t in tasks
            ],
            "warnings": [
                {
                    "task": "like",
                    "scenario": "other",
                    "why": "like in other fell and blocks nothing.",
                }
            ],
            "notes": [{"scenario": "follow", "why": "follow is new."}],
            "metrics": cells,
        },
        curves=curves,
        drift=[
            FeatureDrift(
                "age", Side(0.01, 3.4, None), Side(0.2, 4.1, None), "Jensen-Shannon divergence", 0.3
            ),
            FeatureDrift(
                "user", Side(0, None, 900), Side(0, None, 700), "L-infinity distance", 0.05
            ),
            FeatureDrift("tab", Side(0, None, 6), Side(0, None, 6), "", None),
        ],
        anomalies=[Anomaly("eval", "tab", "Examples contain values missing from the schema: new.")],
        components=[
            ComponentRun("LogExampleGen", 4.5, False),
            ComponentRun("StatisticsGen", 11.2, True),
            ComponentRun("Trainer", 61.0, False),
        ],
        pushed_version="1732357440" if blessed else None,
    )
