"""Searches the weights of the fused score on the evaluation days of a run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
import yaml

from keras_models.heads import ScoreFusion
from keras_models.metrics import auc, gauc
from serving.versions import latest
from tfx_pipeline.config import Config
from tfx_pipeline.recorded_run import newest_judged
from tfx_pipeline.scoring import read_rows, score
from transforms.problems import InputError, Problem

_METRICS = ("gauc", "auc")
_STEPS = [2.0**-i for i in range(7)]
_LEAST = float(np.finfo(np.float32).tiny)
_MOST_ROUNDS = 50


@dataclass(frozen=True)
class Term:
    """One part of an objective: weight * metric(task)."""

    weight: float
    metric: str
    task: str

    @property
    def name(self) -> str:
        """As it is written."""
        return f"{self.metric}({self.task})"


def parse_objective(text: str, tasks: Sequence[str]) -> list[Term]:
    """Reads an objective: `click`, or `0.7 * gauc(click) + 0.3 * auc(like)`.

    Args:
      text: A task, whose GAUC is meant, or a weighted sum of GAUCs and AUCs.
      tasks: Tasks that a score can rank for.

    Raises:
      InputError: saying what is wrong, and what is allowed.
    """
    try:
        return _terms(ast.parse(text.strip(), mode="eval").body, 1.0, tasks)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            [
                Problem(
                    "--objective",
                    repr(text),
                    "a task, or a weighted sum such as `0.7 * gauc(click) + 0.3 * auc(like)`",
                    f"Tasks are {', '.join(tasks)}; metrics are {', '.join(_METRICS)}.",
                )
            ]
        ) from None


def _terms(node: ast.expr, weight: float, tasks: Sequence[str]) -> list[Term]:
    match node:
        case ast.Name(id=task) if task in tasks:
            return [Term(weight, "gauc", task)]
        case ast.Call(func=ast.Name(id=metric), args=[ast.Name(id=task)], keywords=[]) if (
            metric in _METRICS and task in tasks
        ):
            return [Term(weight, metric, task)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _terms(left, weight, tasks) + _terms(right, weight, tasks)
        case ast.BinOp(left=ast.Constant(value=int() | float() as by), op=ast.Mult(), right=right):
            return _terms(right, weight * by, tasks)
    raise ValueError("not an objective")


@dataclass(frozen=True)
class Rows:
    """What a score is judged on.

    Args:
      labels: By task: [R], 1 or 0, NaN outside of the task's sample space.
      logs: By task: log of the model's probability, [R].
      log_factor: log f(length), [R]; 0 where the length does not count.
      users: Hashes, uint64 [R].
    """

    labels: Mapping[str, np.ndarray]
    logs: Mapping[str, np.ndarray]
    log_factor: np.ndarray
    users: np.ndarray

    def take(self, chosen: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(
            {task: values[chosen] for task, values in self.labels.items()},
            {task: values[chosen] for task, values in self.logs.items()},
            self.log_factor[chosen],
            self.users[chosen],
        )


def values(terms: Sequence[Term], weights: Mapping[str, float], rows: Rows) -> list[float | None]:
    """Each term's metric, of the score with these weights; None where it is not defined."""
    fused = rows.log_factor + sum(w * rows.logs[task] for task, w in weights.items() if w)
    found = []
    for term in terms:
        label = rows.labels[term.task]
        inside = ~np.isnan(label)
        positive, scores = label[inside] > 0, fused[inside]
        if term.metric == "auc":
            found.append(auc(positive, scores))
        else:
            found.append(gauc(positive, scores, rows.users[inside]))
    return found


def objective(terms: Sequence[Term], found: Sequence[float | None]) -> float:
    """The weighted sum; a term that is not defined counts as 0."""
    return sum(term.weight * (value or 0.0) for term, value in zip(terms, found, strict=True))


def search(
    terms: Sequence[Term],
    starts: Sequence[Mapping[str, float]],
    rows: Rows,
    on_trial: Callable[[int, float], None] | None = None,
) -> dict[str, float]:
    """The best weights that a coordinate search from several starts finds.

    One weight after the other goes up or down by a step, from 1 to 1/64 as nothing gets better any
    more; none goes below 0. Nothing is drawn, so the same rows give the same weights. Of equally
    good ones the first found stays.

    Args:
      terms: What to maximise.
      starts: Weights of every task to start from.
      rows: What they are judged on.
      on_trial: Called with the number of trials so far and the best objective.
    """
    known: dict[tuple[float, ...], float] = {}

    def worth(weights: Mapping[str, float]) -> float:
        # A common factor changes no order, unless the length has a say too.
        largest = max(weights.values()) if not rows.log_factor.any() else 1.0
        key = tuple(round(w / largest, 12) if largest > 0 else 0.0 for w in weights.values())
        if key not in known:
            known[key] = objective(terms, values(terms, weights, rows))
            if on_trial is not None:
                on_trial(len(known), max(known.values()))
        return known[key]

    best = max(starts, key=worth)
    for start in sorted(starts, key=worth, reverse=True)[:2]:
        at = dict(start)
        for step in _STEPS:
            for _ in range(_MOST_ROUNDS):
                before = worth(at)
                for task in at:
                    for change in (step, -step):
                        tried = {**at, task: max(0.0, at[task] + change)}
                        if any(tried.values()) and worth(tried) > worth(at):
                            at = tried
                if worth(at) <= before:
                    break
        if worth(at) > worth(best):
            best = at
    return dict(best)


@dataclass(frozen=True)
class Fused:
    """What a search found.

    Args:
      terms: The objective.
      before: Weights of the config, or 1 for every task where it has none.
      after: The best weights found.
      searched: Values of the terms, before and after, on the users searched on.
      held_out: Likewise on the other users.
      version: The model's.
      rows: Rows of the evaluation days.
      config_lines: For the config file, in YAML.
    """

    terms: list[Term]
    before: dict[str, float]
    after: dict[str, float]
    searched: tuple[list[float | None], list[float | None]]
    held_out: tuple[list[float | None], list[float | None]]
    version: int
    rows: int
    config_lines: str


def fuse(
    workdir: Path, objective_text: str, on_trial: Callable[[int, float], None] | None = None
) -> Fused:
    """Searches the weights of `score` for the newest run of a workdir and its pushed model.

    Half of the users, by a hash, are searched on; what the weights are worth to the others is the
    figure to believe.

    Args:
      workdir: A run's.
      objective_text: See `parse_objective`.
      on_trial: See `search`.

    Raises:
      InputError: if there is no run, no pushed version, or no such objective.
    """
    run = newest_judged(workdir)
    config = run.config
    base = workdir / "serving" / config.model_name
    pushed = latest(str(base))
    if pushed is None:
        raise InputError([Problem(str(base), "no version", "a pushed model, as `run` leaves it")])
    tasks = [n for n, task in config.tasks.items() if task.kind in ("binary", "ranking")]
    terms = parse_objective(objective_text, tasks)
    rows = _load(config, tasks, run.evaluation_rows, str(pushed[1]))
    given = config.model.fusion.weights if config.model.fusion else {}
    before = {task: given.get(task, 0.0 if given else 1.0) for task in tasks}
    starts = [before, *({t: float(t == one) for t in tasks} for one in tasks)]
    starts.append(dict.fromkeys(tasks, 1.0))
    searched = rows.users % np.uint64(2) == 0
    half, other = rows.take(searched), rows.take(~searched)
    after = search(terms, starts, half, on_trial)
    return Fused(
        terms=terms,
        before=before,
        after=after,
        searched=(values(terms, before, half), values(terms, after, half)),
        held_out=(values(terms, before, other), values(terms, after, other)),
        version=pushed[0],
        rows=len(rows.users),
        config_lines=_config_lines(config, after),
    )


def _load(config: Config, tasks: Sequence[str], examples: str, model: str) -> Rows:
    length = config.model.fusion.length if config.model.fusion else None
    also = {config.data.user: tf.string}
    if length is not None:
        also[length.column] = tf.float32
    kinds = {task: config.tasks[task].kind for task in tasks}
    rows = read_rows(examples, kinds, [], also)
    outputs = score(tf.saved_model.load(model), rows.examples)
    lacking = [task for task in tasks if task not in outputs]
    if lacking:
        raise InputError(
            [
                Problem(
                    model,
                    f"no output {', '.join(lacking)}",
                    "a model of the newest run's tasks",
                    "The newest run pushed none; look at its gate's verdict.",
                )
            ]
        )
    log_factor = np.zeros(len(rows.examples))
    if length is not None:
        one = ScoreFusion(
            {tasks[0]: 1.0},
            length_column=length.column,
            length_function=length.function,
            unit=length.unit,
            power=length.power,
            missing_length=length.missing,
        )
        column = rows.columns[length.column]
        # Of a probability of 1 nothing is left but the factor.
        log_factor = one({tasks[0]: tf.ones([len(column)])}, tf.constant(column)).numpy()
    users = pd.util.hash_array(rows.columns[config.data.user].astype(object), categorize=False)
    return Rows(
        labels=rows.labels,
        logs={t: np.log(np.maximum(outputs[t], _LEAST), dtype=np.float64) for t in tasks},
        log_factor=log_factor,
        users=users,
    )


def _config_lines(config: Config, weights: Mapping[str, float]) -> str:
    fusion: dict[str, object] = {"weights": {t: w for t, w in weights.items() if w}}
    if config.model.fusion and config.model.fusion.length:
        fusion["length"] = config.model.fusion.length.model_dump()
    return yaml.safe_dump({"model": {"fusion": fusion}}, sort_keys=False)
